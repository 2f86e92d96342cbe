"""The AWS API: requests checked against botocore's models, signatures, answers in AWS's wire formats."""
