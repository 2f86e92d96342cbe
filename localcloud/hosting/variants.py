"""What DescribeEndpoint shows of an endpoint's variants and of its data capture."""

from __future__ import annotations

from localcloud.store import Document


def retain_variants(endpoint: Document, config: Document, plan: Document, request: Document) -> None:
    """Keep the weights and instance counts that variants of the same name have now."""
    excluded = {each["VariantPropertyType"] for each in request.get("ExcludeRetainedVariantProperties", [])}
    current = {variant["VariantName"]: variant for variant in endpoint["ProductionVariants"]}
    for variant, planned in zip(config["ProductionVariants"], plan["Variants"], strict=True):
        kept = current.get(variant["VariantName"])
        if kept is None:
            continue
        if "DesiredWeight" not in excluded:
            variant["InitialVariantWeight"] = planned["Weight"] = kept["DesiredWeight"]
        if "DesiredInstanceCount" not in excluded and "InitialInstanceCount" in variant:
            variant["InitialInstanceCount"] = kept.get("DesiredInstanceCount", 1)


def set_shares(variant: Document, wanted: Document) -> None:
    """Give a variant the weight and the instance count of a DesiredWeightAndCapacity."""
    if "DesiredWeight" in wanted:
        variant["CurrentWeight"] = variant["DesiredWeight"] = wanted["DesiredWeight"]
    if "DesiredInstanceCount" in wanted:
        variant["CurrentInstanceCount"] = variant["DesiredInstanceCount"] = wanted["DesiredInstanceCount"]


def summarise_variants(config: Document) -> list[Document]:
    """The ProductionVariants of an endpoint that has just been deployed from a configuration."""
    summaries = []
    for variant in config["ProductionVariants"]:
        weight = variant["InitialVariantWeight"]
        summary = {"VariantName": variant["VariantName"], "CurrentWeight": weight, "DesiredWeight": weight}
        if serverless := variant.get("ServerlessConfig"):
            summary |= {"CurrentServerlessConfig": serverless, "DesiredServerlessConfig": serverless}
        else:
            count = variant["InitialInstanceCount"]
            summary |= {"CurrentInstanceCount": count, "DesiredInstanceCount": count}
        summaries.append(summary)
    return summaries


def summarise_capture(config: Document) -> Document | None:
    """The DataCaptureConfig of an endpoint, from that of its configuration."""
    capture = config.get("DataCaptureConfig")
    if capture is None:
        return None
    enabled = capture.get("EnableCapture", True)
    return {
        "EnableCapture": enabled,
        "CaptureStatus": "Started" if enabled else "Stopped",
        "CurrentSamplingPercentage": capture["InitialSamplingPercentage"],
        "DestinationS3Uri": capture["DestinationS3Uri"],
        "KmsKeyId": capture.get("KmsKeyId", ""),
    }
