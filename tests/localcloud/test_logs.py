"""What jobs print, through CloudWatch's API."""

import pytest
from botocore.exceptions import ClientError

from localcloud.errors import AwsError
from localcloud.log_filter import matcher
from tests.localcloud.conftest import RunningCloud, error
from tests.localcloud.hosting import unique
from tests.localcloud.training import Training


def test_a_log_can_be_followed_while_it_grows(cloud: RunningCloud) -> None:
    training = Training(cloud)
    name = training.start(
        """
        import os, time
        print("one", flush=True)
        while not os.path.exists(os.environ["SM_OUTPUT_DIR"] + "/go"):
            time.sleep(0.02)
        print("two", flush=True)
        """
    )
    training.wait_for_line(name, "one")
    group = "/aws/sagemaker/TrainingJobs"
    (stream,) = training.logs.describe_log_streams(logGroupName=group, logStreamNamePrefix=name)["logStreams"]
    where = {"logGroupName": group, "logStreamName": stream["logStreamName"], "startFromHead": True}
    first = training.logs.get_log_events(**where)
    same = training.logs.get_log_events(**where, nextToken=first["nextForwardToken"])
    assert same["events"] == []
    assert same["nextForwardToken"] == first["nextForwardToken"]
    (cloud.home / "jobs" / "training-job" / name / "algo-1" / "ml" / "output" / "go").touch()
    training.end_of(name)
    rest = training.logs.get_log_events(**where, nextToken=first["nextForwardToken"])
    assert [event["message"] for event in rest["events"]] == ["two"]
    back = training.logs.get_log_events(**where, nextToken=rest["nextBackwardToken"])
    assert [event["message"] for event in back["events"]] == ["one"]


def test_logs_are_searched_across_streams(cloud: RunningCloud) -> None:
    training = Training(cloud)
    stem = unique("search")
    for number in range(2):
        script = f"print('epoch {number} loss 0.5'); print('warning {number}'); print('epoch {number} done')"
        training.run(script, TrainingJobName=f"{stem}-{number}")

    def found(pattern: str) -> list[str]:
        events = training.logs.filter_log_events(
            logGroupName="/aws/sagemaker/TrainingJobs", logStreamNamePrefix=stem, filterPattern=pattern
        )["events"]
        return [event["message"] for event in events]

    assert found("epoch loss") == ["epoch 0 loss 0.5", "epoch 1 loss 0.5"]
    assert found('"epoch 1"') == ["epoch 1 loss 0.5", "epoch 1 done"]
    assert found("?warning ?done -0") == ["warning 1", "epoch 1 done"]
    groups = training.logs.describe_log_groups(logGroupNamePrefix="/aws/sagemaker/Training")["logGroups"]
    assert [group["logGroupName"] for group in groups] == ["/aws/sagemaker/TrainingJobs"]
    with pytest.raises(ClientError, match="Cannot order by LastEventTime") as caught:
        training.logs.describe_log_streams(
            logGroupName="/aws/sagemaker/TrainingJobs", logStreamNamePrefix=stem, orderBy="LastEventTime"
        )
    assert error(caught) == ("InvalidParameterException", 400)
    with pytest.raises(ClientError) as caught:
        training.logs.get_log_events(logGroupName="/aws/sagemaker/TrainingJobs", logStreamName="none")
    assert error(caught) == ("ResourceNotFoundException", 400)


@pytest.mark.parametrize("pattern", ["%(%", "{ $.a = 1 }"])
def test_a_filter_pattern_that_is_none_is_refused(pattern: str) -> None:
    with pytest.raises(AwsError) as refused:
        matcher(pattern)
    assert refused.value.code == "InvalidParameterException"
