"""The page: self-contained, safe, and alive in a real browser."""

import dataclasses
import html
import json
import re
import shutil
import subprocess

import numpy as np
import pytest
from markupsafe import escape

from data_pipelines.annotations import check_results
from pinet_jax.evaluation.keypoint_errors import keypoint_errors
from pinet_jax.evaluation.report.gallery import _nearest_person, choose_images, gallery
from pinet_jax.evaluation.report.page import Report, render
from pinet_jax.evaluation.summary import evaluate, paired_differences, summarize
from pinet_jax.inference import Poses
from pinet_jax.skeletons import CROWDPOSE_14
from tests.data_pipelines.coco_files import read_truth
from tests.pinet_jax.evaluation.crowds import make_crowd

HOSTILE = "</script><b>&'\"{{ title }}"


def picture(entry):
    return np.full((entry["height"], entry["width"], 3), 90, np.uint8)


def make_report(read_image=picture, **options):
    dataset, results = make_crowd(CROWDPOSE_14, images=14, seed=4)
    dataset["images"][0]["file_name"] = HOSTILE
    dataset = read_truth(dataset, "crowdpose", CROWDPOSE_14)
    results = check_results(results, dataset, CROWDPOSE_14)
    evaluation = evaluate(dataset, results, "crowdpose")
    stages = {}
    for image in dataset["images"]:
        poses = [p["keypoints"] for p in results if p["image_id"] == image["id"]]
        keypoints = np.reshape(poses, (-1, 14, 3)).astype(np.float32)
        coarse = Poses(keypoints, np.full(len(keypoints), 0.5, np.float32))
        stages[image["id"]] = {"coarse": coarse, "refined": coarse}
    items = gallery(
        dataset,
        results,
        evaluation.matches,
        CROWDPOSE_14,
        choose_images(evaluation.matches, 3) | {dataset["images"][0]["id"]: ["random"]},
        read_image=read_image,
        stages=stages,
        name="fused",
    )
    return Report(
        title=f"Report {HOSTILE}",
        protocol={"trained on": HOSTILE},
        summary=summarize(dataset, results, evaluation, "crowdpose", resamples=20),
        precision=evaluation.precision,
        errors=keypoint_errors(dataset, results, evaluation.matches, CROWDPOSE_14),
        skeleton=CROWDPOSE_14,
        references={"AP": 0.689},
        speed={"images/s": "123"},
        differences=paired_differences(dataset, evaluation, evaluation, resamples=20),
        gallery=items,
        **options,
    )


@pytest.fixture(scope="module")
def report():
    return make_report()


def data_of(page):
    return json.loads(re.search(r'id="data">(.*?)</script>', page, re.S)[1])


def test_the_page_fetches_nothing(report):
    page = render(report)
    links = set(re.findall(r"(?:https?:)?//[\w.]+", re.sub(r"base64,[^\"]*", "", page)))
    assert links == {"http://www.w3.org"}  # the name of the SVG namespace
    assert not re.search(r"<link|@import|url\((?!#)|fetch\(|<iframe|src=\"http", page)


def test_names_from_files_stay_text(report):
    page = render(report)
    assert HOSTILE not in page
    assert escape(HOSTILE) in page
    assert page.count("<script") == page.count("</script>") == 2
    assert HOSTILE in {item["name"] for item in data_of(page)["items"]}


def test_the_page_states_the_figures(report):
    page = render(report)
    for figure in report.summary.metrics.values():
        assert f"<b>{100 * figure:.1f}</b>" in page
    assert "<td>68.9</td>" in page  # the paper's
    assert "+0.0 to +0.0" in page  # the comparison
    assert "images/s" in page


def test_gallery_data_is_the_poses(report):
    items = {item["name"]: item for item in data_of(render(report))["items"]}
    for item in report.gallery:
        found = items[item.name]
        assert [layer["name"] for layer in found["layers"]] == [
            "ground truth",
            "coarse",
            "refined",
            "fused",
        ]
        drawn = np.array([pose["k"] for pose in found["layers"][3]["poses"]]).reshape(-1, 14, 3)
        np.testing.assert_allclose(drawn, item.layers["fused"].keypoints, atol=0.051)


def test_pictures_are_small_and_poses_keep_their_place():
    report = make_report(read_image=lambda entry: np.zeros((1200, 2000, 3), np.uint8))
    item = data_of(render(report))["items"][0]
    assert (item["w"], item["h"]) == (2000, 1200)
    assert item["src"].startswith("data:image/jpeg;base64,")
    assert len(item["src"]) < 10_000


def test_poses_have_the_colour_of_the_person_they_are_about():
    truth = np.zeros((2, 14, 3))
    truth[..., 2] = 2
    truth[1, :, 0] = 300.0
    poses = truth[[1, 0, 0]] + 5.0
    poses[2] += 5000.0
    colors = _nearest_person(poses, truth, np.array([1e4, 1e4]))
    assert colors.tolist() == [1, 0, -1]


def test_best_and_worst_are_the_extremes(report):
    dataset, results = make_crowd(CROWDPOSE_14, images=14, seed=4)
    dataset = read_truth(dataset, "crowdpose", CROWDPOSE_14)
    results = check_results(results, dataset, CROWDPOSE_14)
    evaluation = evaluate(dataset, results, "crowdpose")
    chosen = choose_images(evaluation.matches, 3)
    alone = {}
    for image_id in evaluation.matches.image_ids.tolist():
        mask = evaluation.matches.image_ids == image_id
        alone[image_id] = evaluation.matches.subset(mask).summary()[0]
    ranked = sorted(v for v in alone.values() if not np.isnan(v))
    for group, expected in (("best", ranked[-3:]), ("worst", ranked[:3])):
        found = sorted(alone[i] for i, groups in chosen.items() if group in groups)
        np.testing.assert_allclose(found, expected)
    assert sum("random" in groups for groups in chosen.values()) == 3


def test_a_figure_of_one_person_says_so():
    report = make_report()
    summary = dataclasses.replace(report.summary, people_of={"AP75": 1})
    page = render(dataclasses.replace(report, summary=summary))
    assert page.count("1 person<") == 2  # its tile and its row of the table


@pytest.mark.parametrize("empty", ["gallery", "people"])
def test_pages_without_pictures_or_people(empty):
    report = make_report()
    if empty == "gallery":
        report = dataclasses.replace(report, gallery=(), speed={}, differences=None)
    else:
        nobody = dict.fromkeys(report.summary.metrics)
        summary = dataclasses.replace(report.summary, metrics=nobody, intervals={})
        report = dataclasses.replace(report, summary=summary, precision=-report.precision)
    assert "<h1>" in render(report)


# Runs inside the page and leaves what it saw in the title, which --dump-dom prints.
PROBE = """
<script>
const shown = () => [...document.querySelectorAll(".card strong")].map(e => e.textContent);
const press = (id, text) =>
  [...document.querySelectorAll(`#${id} button`)].find(b => b.textContent === text).click();
const seen = {errors: window.errors, all: shown()};
seen.panels = document.querySelectorAll(".card:first-child figure").length;
const captions = document.querySelectorAll(".card:first-child figcaption");
seen.captions = [...captions].map(e => e.textContent);
seen.limbs = document.querySelectorAll(".card svg path").length;
document.getElementById("order").value = "people";
document.getElementById("order").dispatchEvent(new Event("change"));
seen.people = shown();
press("groups", "worst");
seen.worst = shown();
press("groups", "all");
document.getElementById("search").value = "10";
document.getElementById("search").dispatchEvent(new Event("input"));
seen.searched = shown();
document.getElementById("search").value = "";
document.getElementById("search").dispatchEvent(new Event("input"));
press("view", "fused");
seen.single = document.querySelectorAll(".card:first-child figure").length;
seen.before = document.querySelectorAll(".card svg path").length;
document.getElementById("score").value = document.getElementById("score").max;
document.getElementById("score").dispatchEvent(new Event("input"));
seen.after = document.querySelectorAll(".card svg path").length;
document.querySelector("figure").click();
seen.large = document.querySelector("dialog").open;
seen.wide = document.documentElement.scrollWidth - innerWidth;
document.body.replaceChildren(JSON.stringify(seen));
</script></body>
"""
LISTEN = "<head><script>window.errors=[];onerror=m=>{errors.push(String(m))}</script>"


@pytest.mark.parametrize("width", [1280, 500])
def test_the_page_in_a_browser(report, tmp_path, width):
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
    if browser is None:
        pytest.skip("no chromium here")
    page = render(report)
    file = tmp_path / "report.html"
    file.write_text(page.replace("<head>", LISTEN, 1).replace("</body>", PROBE, 1))
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"]
    command += ["--disable-background-networking", "--host-resolver-rules=MAP * ~NOTFOUND"]
    command += [f"--user-data-dir={tmp_path}", f"--window-size={width},900", file.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    seen = json.loads(html.unescape(re.search(r"<body>(.*)</body>", done.stdout, re.S)[1]))

    items = report.gallery
    assert seen["errors"] == []
    assert sorted(seen["all"]) == sorted(item.name for item in items)
    ap = {item.name: item.ap or 0 for item in items}
    assert [ap[name] for name in seen["all"]] == sorted(ap.values(), reverse=True)
    people = {item.name: item.people for item in items}
    assert [people[n] for n in seen["people"]] == sorted(people.values(), reverse=True)
    assert set(seen["worst"]) == {item.name for item in items if "worst" in item.groups}
    assert set(seen["searched"]) == {item.name for item in items if "10" in item.name}
    assert seen["captions"] == ["ground truth", "coarse", "refined", "fused"]
    assert (seen["panels"], seen["single"], seen["large"]) == (4, 1, True)
    assert seen["limbs"] > 0
    assert seen["after"] < seen["before"]
    assert seen["wide"] <= 0  # nothing sticks out sideways
