"""SageMaker Debugger's own rules and profiler, for accounts that still have them."""

from typing import Any

from botocore.exceptions import ClientError

from tasks import sdk
from tasks.settings import Settings
from training.debugger.options import DebugOptions

REFUSALS = ("ValidationException", "AccessDeniedException", "UnsupportedOperation", "UnknownOperationException")
INTERVALS = (100, 200, 500, 1000, 5000, 60_000)
"""Milliseconds between two looks at the machine that AWS takes; the nearest is asked for."""
TENSOR_RULES = ("LossNotDecreasing", "Overfit", "Overtraining", "VanishingGradient", "ExplodingTensor")
"""Those that judge what is recorded by default; the others need whole tensors."""


def request_members(settings: Settings, options: DebugOptions | None = None) -> dict[str, Any]:
    """``DebugHookConfig``, ``DebugRuleConfigurations`` and ``ProfilerConfig`` with its rules, as the SDK has them."""
    options = options or DebugOptions()
    image = sdk.image_uris.retrieve("debugger", settings.region)
    where = f"s3://{settings.bucket}/debugger"
    return {
        "debug_hook_config": sdk.DebugHookConfig(
            s3_output_path=where,
            hook_parameters={
                "train.save_interval": str(options.save_interval_train),
                "eval.save_interval": str(options.save_interval_eval),
            },
        ),
        "debug_rule_configurations": [
            sdk.DebugRuleConfiguration(
                rule_configuration_name=name, rule_evaluator_image=image, rule_parameters={"rule_to_invoke": name}
            )
            for name in TENSOR_RULES
        ],
        "profiler_config": sdk.ProfilerConfig(
            s3_output_path=where,
            profiling_interval_in_milliseconds=min(
                INTERVALS, key=lambda each: abs(each - 1000 * options.system_interval)
            ),
        ),
        "profiler_rule_configurations": [
            sdk.ProfilerRuleConfiguration(
                rule_configuration_name="ProfilerReport",
                rule_evaluator_image=image,
                rule_parameters={"rule_to_invoke": "ProfilerReport"},
            )
        ],
    }


def is_refusal(error: ClientError) -> bool:
    """Whether AWS refuses a request because of what these members ask for."""
    detail = error.response.get("Error", {})
    text = detail.get("Message", "").lower()
    told = any(word in text for word in ("debug", "profiler", "rule"))
    return detail.get("Code") in REFUSALS and told


def explain(error: ClientError) -> str:
    """What a refusal means, and what happens now."""
    return (
        f"SageMaker refuses Debugger for this account: {error.response['Error'].get('Message')} The training goes on "
        "without it, and our own rules judge what it records. Set BINVENTORY_DEBUGGER=false to stop asking; AWS "
        "gives Debugger to no new customers since 2026-07-30."
    )
