"""The AWS_* variables that make every AWS SDK and command line speak to this cloud."""

from localcloud.host.keys import Keys

SERVICE_VARIABLES = (
    "AWS_ENDPOINT_URL_SAGEMAKER",
    "AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME",
    "AWS_ENDPOINT_URL_CLOUDWATCH_LOGS",
    "AWS_ENDPOINT_URL_STS",
)


def client_environment(s3_endpoint: str, service_endpoint: str, keys: Keys, region: str) -> dict[str, str]:
    """Endpoints, key and region as the SDKs' standard environment variables."""
    return {
        "AWS_ENDPOINT_URL_S3": s3_endpoint,
        **dict.fromkeys(SERVICE_VARIABLES, service_endpoint),
        "AWS_ACCESS_KEY_ID": keys.access_key_id,
        "AWS_SECRET_ACCESS_KEY": keys.secret_access_key,
        "AWS_REGION": region,
        "AWS_DEFAULT_REGION": region,
    }
