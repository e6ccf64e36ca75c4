"""The demo's page, made with Gradio: for this machine alone, and with nothing from elsewhere."""

from __future__ import annotations

import collections
import json
import os
import socket
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

# Before Gradio is imported: it would tell its makers about every page.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"

import gradio as gr
import uvicorn
from fastapi import FastAPI
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from experiments.demo.analysis import Analysis, Analyst, Look, Switches
from experiments.demo.drawing import (
    TABLE_HEADERS,
    keypoint_table,
    person_picture,
    result_entries,
    steps,
    whole_picture,
)
from pinet_jax.errors import InputError, UsageError

HOST = "127.0.0.1"
_LARGEST_FILE = 50  # MB; `read_image` has its own limit of pixels
_LARGEST_UPLOAD = "500mb"  # beyond it Gradio itself breaks the upload off
_EXAMPLES = Path(__file__).with_name("examples")
# A browser that follows this asks no other machine for anything.
_POLICY = "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:"

# Galleries as high as their pictures, one picture a row on phones, and a table that fits there.
_STYLE = """
#steps .grid-wrap, #examples .grid-wrap, #candidates .grid-wrap {
  min-height: 0; max-height: none; overflow: hidden; }
#steps:has(.preview) .grid-wrap { min-height: min(640px, 90vw); }
#steps .grid-container, #candidates .grid-container { grid-auto-rows: auto; }
#steps .thumbnail-lg, #candidates .thumbnail-lg { aspect-ratio: auto; height: auto; }
#keypoints th, #keypoints th * { padding: 2px 1px; }
#keypoints .cell-menu-button { display: none; }
@media (max-width: 640px) {
  #steps .grid-container { grid-template-columns: 1fr; }
  #keypoints * { font-size: 11px; padding-inline: 1px; }
}
"""


class _OwnMachineOnly:
    """Puts `_POLICY` on every answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def with_policy(message: Message) -> None:
            if message["type"] == "http.response.start":
                header = (b"content-security-policy", _POLICY.encode())
                message["headers"] = [*message["headers"], header]
            await send(message)

        await self._app(scope, receive, with_policy)


class _Answers:
    """What the page's controls call; every answer is a list of its outputs' new values."""

    def __init__(self, analyst: Analyst, folder: Path) -> None:
        self._analyst = analyst
        self._folder = folder

    def everything(self, path: str | None, score: float, *values: Any) -> list[Any]:
        """Steps, choice of people, one person's picture and table, and a summary."""
        if path is None:
            return [None, gr.Dropdown(choices=[], value=None), None, None, _WELCOME]
        switches = Switches(*values)
        look, analysis = self._analyze(path, switches)
        method = self._analyst.method
        shown = [n for n, own in enumerate(analysis.scores) if own >= score]
        choices = [(f"{n + 1} (score {analysis.scores[n]:.2f})", n) for n in shown]
        first = shown[0] if shown else None
        people = gr.Dropdown(choices=choices, value=first)
        width, height = look.size
        summary = f"**{look.path.name}**, {width} x {height}: {len(shown)} people"
        gallery = [tuple(step) for step in steps(look, analysis, method, switches, score)]
        return [gallery, people, *self._person(look, analysis, first, switches), summary]

    def person(self, path: str | None, person: int | None, *values: Any) -> list[Any]:
        """One person's picture and table."""
        if path is None:
            return [None, None]
        switches = Switches(*values)
        look, analysis = self._analyze(path, switches)
        return self._person(look, analysis, person, switches)

    def poses_file(self, path: str | None, score: float, *values: Any) -> str:
        """A JSON file of the people's poses."""
        look, analysis = self._analyze(_chosen(path), Switches(*values))
        entries = json.dumps(result_entries(look, analysis, score))
        return self._written(f"{look.path.stem}_poses.json", entries.encode())

    def picture_file(self, path: str | None, score: float, *values: Any) -> str:
        """The whole photograph with its people."""
        look, analysis = self._analyze(_chosen(path), Switches(*values))
        picture = whole_picture(look, analysis, self._analyst.method, score)
        return self._written(f"{look.path.stem}_poses.jpg", picture)

    def _analyze(self, path: str, switches: Switches) -> tuple[Look, Analysis]:
        """Raises gr.Error, which the page shows, where the file is no picture."""
        name = Path(path).name
        size = Path(path).stat().st_size / 1e6
        if size > _LARGEST_FILE:
            raise gr.Error(
                f"{name}: {size:.0f} MB; this page takes files of up to {_LARGEST_FILE} MB. "
                "`pinet-jax predict` takes larger ones."
            )
        try:
            look = self._analyst.look(Path(path), switches.flip)
        except InputError as error:
            raise gr.Error(str(error).replace(path, name), title="Not a photograph") from error
        return look, self._analyst.analyze(look, switches)

    def _person(
        self, look: Look, analysis: Analysis, person: int | None, switches: Switches
    ) -> list[Any]:
        if person is None or person >= len(analysis.scores):
            return [None, None]
        method, stage = self._analyst.method, "refined" if switches.refinement else "coarse"
        members = analysis.members[person]
        parts = collections.Counter(method.parts[analysis.parts[member]].name for member in members)
        picture = person_picture(look, analysis, method, person, stage)
        counts = ", ".join(f"{count} {name}" for name, count in parts.items())
        caption = f"{len(members)} candidates: {counts}"
        return [[(picture, caption)], keypoint_table(analysis, method, person)]

    def _written(self, name: str, content: bytes) -> str:
        """The path of a file in a folder of its own: other tabs have files of the same name."""
        file = Path(tempfile.mkdtemp(dir=self._folder)) / name
        file.write_bytes(content)
        return str(file)


def _chosen(path: str | None) -> str:
    if path is None:
        raise gr.Error("Choose a photograph first.", title="Nothing to download")
    return path


# What a link to a file would do when clicked; the file is made first.
_SAVE = """(file) => {
  const link = document.createElement("a");
  link.href = file.url;
  link.download = file.orig_name;
  link.click();
}"""
_WELCOME = "Drop a photograph, or choose one of the examples."
_INTRODUCTION = """# People in a crowd, found by PINet
Every part of a body, head, trunk or legs, proposes a whole pose (**coarse**). A graph network
corrects it (**refined**). The candidates of one person are found by OKS and **fused**: of every
keypoint the surest one stays. Nothing leaves this machine."""


def make_page(analyst: Analyst, folder: Path) -> gr.Blocks:
    """The page.

    Args:
        analyst: the network.
        folder: for the files to download.
    """
    answers, tested = _Answers(analyst, folder), analyst.inference
    examples = sorted(str(file) for file in _EXAMPLES.glob("*.jpg"))
    with gr.Blocks(title="PINet", analytics_enabled=False, fill_width=True) as page:
        gr.Markdown(_INTRODUCTION)
        with gr.Row():
            with gr.Column(scale=1, min_width=300):
                file = gr.File(label="Photograph: drop it here, or click", elem_id="photograph")
                chosen = gr.Gallery(
                    examples, label="Examples", columns=2, show_label=False, object_fit="cover",
                    allow_preview=False, interactive=False, buttons=[], height="auto",
                    elem_id="examples",
                )  # fmt: skip
                flip = gr.Checkbox(tested.flip, label="Flip: average with the mirror image")
                refinement = gr.Checkbox(True, label="PR: pose refinement")
                fused = gr.Checkbox(tested.fusion, label="PF: pose fusion")
                score = gr.Slider(0, 1, 0.1, step=0.01, label="Score threshold")
                oks = gr.Slider(0, 1, tested.oks_threshold, step=0.01, label="OKS threshold")
                gr.Markdown("Downloads:")
                with gr.Row():
                    poses = gr.Button("Poses (JSON)", elem_id="poses")
                    picture = gr.Button("Picture", elem_id="picture")
                made = gr.File(visible=False)
            with gr.Column(scale=3, min_width=600):
                summary = gr.Markdown(_WELCOME, elem_id="summary")
                gallery = gr.Gallery(
                    label="Click one, and step through them with the arrow keys", columns=3,
                    object_fit="contain", format="jpeg", buttons=[], interactive=False,
                    height="auto", elem_id="steps",
                )  # fmt: skip
                person = gr.Dropdown([], label="A person, best first", elem_id="person")
                with gr.Row():
                    candidates = gr.Gallery(
                        label="The person's candidates, a colour a part", columns=1,
                        object_fit="contain", format="jpeg", buttons=[], interactive=False,
                        elem_id="candidates",
                    )  # fmt: skip
                    table = gr.Dataframe(
                        headers=list(TABLE_HEADERS), label="Where each keypoint comes from",
                        interactive=False, buttons=[], elem_id="keypoints", max_height=700,
                        column_widths=["36%", "14%", "14%", "14%", "13%", "9%"],
                    )  # fmt: skip
        path = gr.State(None)
        switches = [flip, refinement, fused, oks]  # as `Switches` has them
        inputs, outputs = [path, score, *switches], [gallery, person, candidates, table, summary]
        file.change(lambda given: given, file, path, api_visibility="private")
        chosen.select(_example(examples), None, path, api_visibility="private")
        for control in (path, flip, refinement, fused):
            control.change(answers.everything, inputs, outputs, api_visibility="private")
        for slider in (oks, score):
            slider.change(
                answers.everything,
                inputs,
                outputs,
                api_visibility="private",
                trigger_mode="always_last",
            )
        person.input(
            answers.person,
            [path, person, *switches],
            [candidates, table],
            api_visibility="private",
        )
        for button, make in ((poses, answers.poses_file), (picture, answers.picture_file)):
            button.click(make, inputs, made, api_visibility="private").success(
                None, made, None, js=_SAVE, api_visibility="private"
            )
    return page


def _example(examples: Sequence[str]) -> Any:
    def choose(event: gr.SelectData) -> str:
        return examples[event.index]

    return choose


def serve(analyst: Analyst, port: int) -> None:
    """Serves the page until Ctrl-C. Uploads and results are removed at the end.

    Raises:
        UsageError: the port is taken.
    """
    _check_free(port)
    with tempfile.TemporaryDirectory(prefix="pinet_jax_demo_") as folder:
        os.environ["GRADIO_TEMP_DIR"] = folder
        app = gr.mount_gradio_app(
            FastAPI(
                middleware=[
                    Middleware(_OwnMachineOnly),
                    # Other sites may have names that lead here.
                    Middleware(TrustedHostMiddleware, allowed_hosts=[HOST, "localhost"]),
                ]
            ),
            make_page(analyst, Path(folder)),
            path="/",
            footer_links=[],
            max_file_size=_LARGEST_UPLOAD,
            ssr_mode=False,
            css=_STYLE,
            theme=gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["monospace"]),
        )
        print(f"http://{HOST}:{port}  (Ctrl-C ends it)", flush=True)
        uvicorn.run(app, host=HOST, port=port, log_level="warning")


def _check_free(port: int) -> None:
    with socket.socket() as test:
        test.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            test.bind((HOST, port))
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or error
            raise UsageError(f"--port {port}: cannot be used ({reason}); name another") from error
