"""What a run tells, as lines for people and as events for scripts."""

import io
import json
from pathlib import Path

from rich.console import Console
from zimage_layer_lab.cli.comfy.prompt import PromptState
from zimage_layer_lab.cli.queue.keeping import Kept
from zimage_layer_lab.cli.queue.progress import TimeLeft
from zimage_layer_lab.cli.queue.reporting import ConsoleReport, JsonReport
from zimage_layer_lab.cli.queue.settings import make_rows
from zimage_layer_lab.cli.queue.worker import DONE, FAILED, RUNS_ON, Job, Outcome
from zimage_layer_lab.cli.queue.workflow import Workflow

GRAPH = {"1": {"class_type": "A", "inputs": {"x": 1}, "_meta": {"title": "Draw"}}}
FILES = (
    {"node": "1", "title": "Draw", "key": "images", "file": "0001_a.png"},
    {"node": "2", "title": "Say", "key": "text", "file": "0001_Say.txt", "text": "a\n fox"},
)


def tell(report):
    """Two rows on two servers, one of which goes away; a third row that runs on."""
    workflow = Workflow(GRAPH)
    rows, _ = make_rows(workflow, [], [{"1.x": 1}, {"1.x": 2}, {"1.x": 3}])
    jobs = [Job(row.number, f"id{row.number}", row.graph) for row in rows]
    kept = Kept(FILES)
    with report:
        report.introduce(Path("w.json"), 3, 0, ["a:1", "b:1"], Path("out"))
        report.start(workflow, rows, 3, ["1.x"])
        report.begin(rows[0], "a:1", jobs[0])
        report.progress(rows[0], "a:1", PromptState(ahead=2))
        report.progress(rows[0], "a:1", PromptState(ahead=0, node="1", value=3, total=8))
        report.lose("b:1")
        report.warn("b:1 is away")
        report.end(rows[0], "a:1", Outcome(jobs[0], None, DONE, 1.5, kept))
        report.end(rows[1], "a:1", Outcome(jobs[1], None, FAILED, 1.5, error="no room"))
        report.end(rows[2], "a:1", Outcome(jobs[2], None, RUNS_ON))
        report.summarise({"done": 1, "failed": 1, "refused": 0}, Path("out"), "")


def test_events_are_one_object_a_line_and_hold_what_the_page_says(capsys, pack_root):
    tell(JsonReport())
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [event["event"] for event in events] == (
        ["start", "queued", "progress", "progress", "warning", "end", "end", "end", "summary"]
    )
    assert events[3]["title"] == "Draw" and (events[3]["value"], events[3]["total"]) == (3, 8)
    first, second = events[5:7]
    assert first["files"] == ["0001_a.png", "0001_Say.txt"] and first["settings"] == {"1.x": 1}
    assert (second["status"], second["error"]) == ("failed", "no room")
    page = (pack_root / "docs" / "queue.md").read_text(encoding="utf-8")
    table = page.partition("## For scripts")[2].partition("##")[0]
    for event in events:
        for name in event:
            assert f"`{name}`" in table or event["event"] == "summary", (event["event"], name)


def test_lines_have_the_settings_the_files_the_texts_and_the_time_left(capsys):
    shown = io.StringIO()
    tell(ConsoleReport(Console(file=shown, width=100)))
    lines = [line.strip() for line in shown.getvalue().splitlines()]
    assert lines[0] == "w.json: 3 prompts; 2 servers, into out"
    row = next(line for line in lines if line.startswith("1 (1.x=1): 1.5 s, 0001_a.png"))
    assert "(2 to go, about 0:00 left)" in row
    assert "Say: a fox" in lines
    assert lines[-1].startswith("1 done, 1 failed: out")
    told = capsys.readouterr().err
    assert "b:1 is away" in told and "2 (1.x=2): failed: no room" in told
    assert "3 (1.x=3): runs on\n" in told


def test_the_time_left_is_told_from_what_has_ended(monkeypatch):
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    left = TimeLeft(4)
    assert left.seconds is None and str(left) == ""
    now[0] += 90
    left.end_one()
    assert left.seconds == 270 and str(left) == "about 4:30 left"
    for _ in range(3):
        left.end_one()
    assert str(left) == ""
