"""Train once with given hyperparameters; the entry script of the final training job.

In a job, SageMaker sets everything. By hand, on folders of photos by count:

    SM_CHANNEL_TRAIN=data/train SM_CHANNEL_VALID=data/valid SM_MODEL_DIR=out SM_OUTPUT_DATA_DIR=out \
        python -m training.train --epochs 4 --image-size 112
"""

from training.job import main

if __name__ == "__main__":
    raise SystemExit(main())
