"""What the demo sums up is what it did."""

import json

import pytest

from demo.running import FILES, FOLDERS, by_state, demo
from zjobs.demo import jobs


@pytest.fixture(scope="module")
def summary(tree):
    """The summary of one run that is long enough for a tick."""
    done = demo(tree, "--json", "--seconds", "1.5")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_every_enqueued_job_ends_in_a_final_state(summary):
    assert set(summary["states"]) == {"completed", "discarded"}
    assert sum(summary["states"].values()) == summary["enqueued"]
    assert all(kind["unfinished"] == 0 for kind in summary["kinds"].values())


def test_what_telemetry_told_is_what_the_store_counts(summary):
    assert summary["finished_by_this_run"] == sum(summary["states"].values())


def test_the_table_adds_up_to_what_the_store_counts(summary):
    assert by_state(summary) == summary["states"]


def test_jobs_that_always_fail_are_discarded_and_no_others(summary):
    assert summary["states"]["discarded"] == summary["always_failing"] == 2
    assert summary["kinds"]["open_lost"]["states"] == {"discarded": 2}


def test_each_refused_attempt_is_retried(summary):
    published = FILES // 20
    assert summary["kinds"]["publish"]["states"] == {"completed": published}
    assert summary["kinds"]["publish"]["retries"] == published * jobs.FLAKY_FAILURES
    assert summary["kinds"]["open_lost"]["retries"] == 2 * (jobs.LOST_ATTEMPTS - 1)
    assert summary["retries"] == sum(kind["retries"] for kind in summary["kinds"].values()) == 8


def test_unique_jobs_refuse_duplicates(summary):
    assert summary["duplicates_refused"] == FILES - FOLDERS
    assert summary["kinds"]["index_folder"]["enqueued"] == FOLDERS


def test_the_cron_entry_ticks(summary):
    assert 1 <= summary["cron_ticks"] == summary["kinds"]["tick"]["enqueued"]
    assert summary["findings"]["peak_memory"] > 0


def test_the_findings_are_those_of_the_tree(summary, tree):
    sizes = [path.stat().st_size for path in tree.rglob("*.*")]
    assert (
        summary["findings"].items()
        >= {
            "files_hashed": FILES,
            "files_with_twins": 2,
            "bytes_hashed": sum(sizes),
            "sources_parsed": FILES // 2,
            "functions": FILES,
            "classes": FILES // 2,
            "folders_indexed": FOLDERS,
            "folder_entries": FILES,
            "files_probed": FILES,
            "text_files": FILES,
        }.items()
    )
    assert 0 < summary["findings"]["compressed_ratio"] < 1


def test_latency_is_measured_for_every_kind(summary):
    for kind in summary["kinds"].values():
        assert 0 <= kind["wait_ms"]["p50"] <= kind["wait_ms"]["p99"]
        assert 0 <= kind["run_ms"]["p50"] <= kind["run_ms"]["p99"]
    assert summary["jobs_per_second"] > 0


def test_json_is_all_that_is_printed(tree):
    done = demo(tree, "--json", "--seconds", "0", "--files", "3")
    assert json.loads(done.stdout)["files"] == 3
    assert done.stderr == ""
