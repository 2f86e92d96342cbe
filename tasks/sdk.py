"""The SageMaker SDK's classes, as ``sdk.TrainingJob``: imported when the first of them is used.

Importing the SDK takes longer than whatever else a night's flow imports, all of Prefect included (it loads pandas and
SciPy too). What sends no job starts without: ``--help``, a parameter that is refused, a night that finds nothing new.
Annotations are quoted for that.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sagemaker.core import image_uris as image_uris
    from sagemaker.core.resources import (
        HyperParameterTuningJob as HyperParameterTuningJob,
    )
    from sagemaker.core.resources import (
        Model as Model,
    )
    from sagemaker.core.resources import (
        TrainingJob as TrainingJob,
    )
    from sagemaker.core.resources import (
        TransformJob as TransformJob,
    )
    from sagemaker.core.shapes import (
        AlgorithmSpecification as AlgorithmSpecification,
    )
    from sagemaker.core.shapes import (
        CategoricalParameterRange as CategoricalParameterRange,
    )
    from sagemaker.core.shapes import (
        Channel as Channel,
    )
    from sagemaker.core.shapes import (
        CheckpointConfig as CheckpointConfig,
    )
    from sagemaker.core.shapes import (
        ContainerDefinition as ContainerDefinition,
    )
    from sagemaker.core.shapes import (
        ContinuousParameterRange as ContinuousParameterRange,
    )
    from sagemaker.core.shapes import (
        DataSource as DataSource,
    )
    from sagemaker.core.shapes import (
        DebugHookConfig as DebugHookConfig,
    )
    from sagemaker.core.shapes import (
        DebugRuleConfiguration as DebugRuleConfiguration,
    )
    from sagemaker.core.shapes import (
        HyperParameterAlgorithmSpecification as HyperParameterAlgorithmSpecification,
    )
    from sagemaker.core.shapes import (
        HyperParameterTrainingJobDefinition as HyperParameterTrainingJobDefinition,
    )
    from sagemaker.core.shapes import (
        HyperParameterTrainingJobSummary as HyperParameterTrainingJobSummary,
    )
    from sagemaker.core.shapes import (
        HyperParameterTuningJobConfig as HyperParameterTuningJobConfig,
    )
    from sagemaker.core.shapes import (
        HyperParameterTuningJobObjective as HyperParameterTuningJobObjective,
    )
    from sagemaker.core.shapes import (
        HyperParameterTuningJobWarmStartConfig as HyperParameterTuningJobWarmStartConfig,
    )
    from sagemaker.core.shapes import (
        MetricDefinition as MetricDefinition,
    )
    from sagemaker.core.shapes import (
        OutputDataConfig as OutputDataConfig,
    )
    from sagemaker.core.shapes import (
        ParameterRanges as ParameterRanges,
    )
    from sagemaker.core.shapes import (
        ParentHyperParameterTuningJob as ParentHyperParameterTuningJob,
    )
    from sagemaker.core.shapes import (
        ProfilerConfig as ProfilerConfig,
    )
    from sagemaker.core.shapes import (
        ProfilerRuleConfiguration as ProfilerRuleConfiguration,
    )
    from sagemaker.core.shapes import (
        ResourceConfig as ResourceConfig,
    )
    from sagemaker.core.shapes import (
        ResourceLimits as ResourceLimits,
    )
    from sagemaker.core.shapes import (
        S3DataSource as S3DataSource,
    )
    from sagemaker.core.shapes import (
        StoppingCondition as StoppingCondition,
    )
    from sagemaker.core.shapes import (
        TransformDataSource as TransformDataSource,
    )
    from sagemaker.core.shapes import (
        TransformInput as TransformInput,
    )
    from sagemaker.core.shapes import (
        TransformOutput as TransformOutput,
    )
    from sagemaker.core.shapes import (
        TransformResources as TransformResources,
    )
    from sagemaker.core.shapes import (
        TransformS3DataSource as TransformS3DataSource,
    )
else:

    def __getattr__(name: str) -> object:
        if name == "image_uris":
            return import_module("sagemaker.core.image_uris")
        for module in ("resources", "shapes"):
            if hasattr(found := import_module(f"sagemaker.core.{module}"), name):
                return getattr(found, name)
        raise AttributeError(name)
