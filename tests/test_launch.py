"""Launching: what accelerate is told, and that it cannot quietly start fewer processes than were asked for."""

import pytest

from timecost.errors import UserError
from timecost.launch import EXPECTED, accelerate_options, check_world_size


def test_one_process_needs_no_launcher():
    assert accelerate_options(None, None) == accelerate_options(1, None) == accelerate_options(None, "single") == []


def test_several_processes_are_started_like_gpus_even_on_cpus():
    options = accelerate_options(2, None)
    assert "--multi_gpu" in options and options[-2:] == ["--num_processes", "2"] and "--cpu" not in options


def test_a_packaged_configuration_by_name():
    options = accelerate_options(None, "two_cpu")
    assert options[0] == "--config_file" and options[1].endswith("accelerate/two_cpu.yaml")
    assert options[-1] == "2"
    assert accelerate_options(4, "multi_gpu")[-1] == "4"


@pytest.mark.parametrize("kind", ["MULTI_CPU", "'NO'", "NO"])  # YAML reads the last one as false
def test_a_configuration_that_would_start_one_process_is_refused(tmp_path, kind):
    path = tmp_path / "cpu.yaml"
    path.write_text(f"distributed_type: {kind}\nnum_processes: 2\n")
    with pytest.raises(UserError, match="starts one process, not 2: write MULTI_GPU"):
        accelerate_options(None, str(path))


def test_the_number_of_processes_is_checked_where_they_run(monkeypatch):
    check_world_size(1)
    monkeypatch.setenv(EXPECTED, "2")
    check_world_size(2)
    with pytest.raises(UserError, match="2 processes were asked for and accelerate started 1"):
        check_world_size(1)
