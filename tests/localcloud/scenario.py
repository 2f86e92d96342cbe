"""What the scenario does, whoever drives it: its script, its model's code, and its inputs."""

TRAIN = """
    import argparse
    import os
    from pathlib import Path

    import torch

    parser = argparse.ArgumentParser()
    parser.add_argument("--lr", type=float, default=0.1)
    parser.add_argument("--steps", type=int, default=20)
    arguments = parser.parse_args()

    torch.manual_seed(0)
    rows = [line.split(",") for line in Path(os.environ["SM_CHANNEL_TRAIN"], "line.csv").read_text().split()]
    x = torch.tensor([[float(row[0])] for row in rows])
    y = torch.tensor([[float(row[1])] for row in rows])
    model = torch.nn.Linear(1, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=arguments.lr)
    for step in range(arguments.steps):
        loss = torch.nn.functional.mse_loss(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    print(f"train loss: {loss.item():.6f}", flush=True)
    folder = Path(os.environ["SM_MODEL_DIR"])
    torch.save(model.state_dict(), folder / "model.pt")
    (folder / "code").mkdir()
    (folder / "code" / "inference.py").write_bytes(Path("inference.py").read_bytes())
"""

INFERENCE = """
    import json
    from pathlib import Path

    import torch

    def model_fn(model_dir):
        model = torch.nn.Linear(1, 1)
        model.load_state_dict(torch.load(Path(model_dir, "model.pt"), weights_only=True))
        return model.eval()

    def input_fn(body, content_type):
        return torch.tensor([[float(json.loads(body)["x"])]])

    def predict_fn(data, model):
        with torch.inference_mode():
            return model(data).item()

    def output_fn(prediction, accept):
        return json.dumps({"y": prediction}), "application/json"
"""

WAIT = """
    import time
    print("waiting", flush=True)
    time.sleep(600)
"""

LINE = "\n".join(f"{x / 10},{2 * x / 10 + 1}" for x in range(-10, 11)).encode()
METRICS = [{"Name": "loss", "Regex": "train loss: ([0-9.]+)"}]
OBJECTS = 20
