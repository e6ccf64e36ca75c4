"""Associative-embedding grouping as it was published: on the host, group by group, in Python.

The yardstick of `pinet_jax/grouping.py`: its tests compare with it, the benchmark times it.
Readable and slow; nothing else may import it.

Legend for shapes: K keypoints, M candidates of each, G groups, T tags of a candidate, maps of
H x W positions.
"""

from __future__ import annotations

import cv2
import numpy as np

MAX_PEOPLE = 30
DETECTION_THRESHOLD = 0.1
TAG_THRESHOLD = 1.0


class Munkres:
    """The Hungarian method by stars and primes, with the classic order of its search."""

    def __init__(self, cost: np.ndarray) -> None:
        """Pads float64 [R, C] with zeros to a square."""
        self.size = n = max(cost.shape)
        padded = np.zeros((n, n))
        padded[: cost.shape[0], : cost.shape[1]] = cost
        self.cost = list(padded)  # NumPy's rows, as the released code hands them over
        self.star = [[False] * n for _ in range(n)]
        self.prime = [[False] * n for _ in range(n)]
        self.row_covered = [False] * n
        self.column_covered = [False] * n

    def solve(self) -> list[int]:
        """Every row's column."""
        self._reduce_rows()
        self._star_first_zeros()
        while self._cover_stars() < self.size:
            self._augment(*self._prime_until_free())
        return [row.index(True) for row in self.star]

    def _reduce_rows(self) -> None:
        for row in self.cost:
            least = min(row)
            for j in range(self.size):
                row[j] -= least

    def _star_first_zeros(self) -> None:
        taken = [False] * self.size
        for i in range(self.size):
            for j in range(self.size):
                if self.cost[i][j] == 0 and not taken[j]:
                    self.star[i][j] = taken[j] = True
                    break

    def _cover_stars(self) -> int:
        n = self.size
        self.row_covered = [False] * n
        self.column_covered = [any(self.star[i][j] for i in range(n)) for j in range(n)]
        self.prime = [[False] * n for _ in range(n)]
        return sum(self.column_covered)

    def _prime_until_free(self) -> tuple[int, int]:
        """Primes zeros until one's row has no star."""
        row = column = 0
        while True:
            found = self._uncovered_zero(row, column)
            if found is None:
                self._make_zeros()
                row = column = 0
                continue
            row, column = found
            self.prime[row][column] = True
            if True not in self.star[row]:
                return row, column
            column = self.star[row].index(True)
            self.row_covered[row] = True
            self.column_covered[column] = False

    def _uncovered_zero(self, row: int, column: int) -> tuple[int, int] | None:
        """The first row that has one, from `row` on; in it the last one, from `column` on."""
        n = self.size
        for i in (k % n for k in range(row, row + n)):
            found = None
            for j in (k % n for k in range(column, column + n)):
                if self.cost[i][j] == 0 and not self.row_covered[i] and not self.column_covered[j]:
                    found = i, j
            if found is not None:
                return found
        return None

    def _make_zeros(self) -> None:
        cells = [(i, j) for i in range(self.size) for j in range(self.size)]
        least = min(
            self.cost[i][j]
            for i, j in cells
            if not self.row_covered[i] and not self.column_covered[j]
        )
        for i, j in cells:
            if self.row_covered[i]:
                self.cost[i][j] += least
            if not self.column_covered[j]:
                self.cost[i][j] -= least

    def _augment(self, row: int, column: int) -> None:
        path = [(row, column)]
        while True:
            starred = [i for i in range(self.size) if self.star[i][column]]
            if not starred:
                break
            row = starred[0]
            path.append((row, column))
            column = self.prime[row].index(True)
            path.append((row, column))
        for i, j in path:
            self.star[i][j] = not self.star[i][j]


def group(
    values: np.ndarray, xy: np.ndarray, tags: np.ndarray, order: tuple[int, ...]
) -> np.ndarray:
    """All groups of one image, in the order in which they were opened.

    Args:
        values: float32 [K, M], falling.
        xy: [K, M, 2].
        tags: float32 [K, M, T].
        order: in which the keypoints are taken.

    Returns:
        float32 [G, K, 3 + T]: x, y, value and tags; zeros where a keypoint is missing.
    """
    num_keypoints, width = len(values), 3 + tags.shape[2]
    table: dict[float, np.ndarray] = {}
    members: dict[float, list[np.ndarray]] = {}
    for k in order:
        rows = np.concatenate([xy[k], values[k][:, None], tags[k]], axis=1).astype(np.float64)
        chosen = values[k] > DETECTION_THRESHOLD
        rows, joint_tags = rows[chosen], tags[k][chosen]
        if len(rows) == 0:
            continue
        keys = list(table)[:MAX_PEOPLE]
        matched = _match(rows, [members[key] for key in keys]) if keys else [None] * len(rows)
        for row, tag, column in zip(rows, joint_tags, matched, strict=True):
            if column is not None:
                table[keys[column]][k] = row
                members[keys[column]].append(tag)
            else:
                table.setdefault(float(tag[0]), np.zeros((num_keypoints, width)))[k] = row
                members[float(tag[0])] = [tag]
    return np.array(list(table.values()), np.float32).reshape(-1, num_keypoints, width)


def _match(rows: np.ndarray, members: list[list[np.ndarray]]) -> list[int | None]:
    """The group that each candidate goes to, or None where it opens one."""
    means = np.array([np.mean(tags, axis=0) for tags in members])  # [G, T]
    distance = np.linalg.norm(rows[:, None, 3:] - means[None], axis=2)
    cost = np.round(distance) * 100 - rows[:, 2:3]
    missing = len(rows) - len(members)
    if missing > 0:
        cost = np.concatenate([cost, np.full((len(rows), missing), 1e10)], axis=1)
    columns = Munkres(cost).solve()
    return [
        j if j < len(members) and distance[i, j] < TAG_THRESHOLD else None
        for i, j in enumerate(columns[: len(rows)])
    ]


def adjust(groups: np.ndarray, heatmap: np.ndarray) -> np.ndarray:
    """Moves every keypoint to its pixel's middle, and a quarter towards the higher neighbour.

    Args:
        groups: [G, K, 3 + T], from `group`.
        heatmap: [K, H, W].
    """
    groups = groups.copy()
    for person in groups:
        for k, point in enumerate(person):
            if point[2] > 0:
                point[:2] = _inside_pixel(heatmap[k], int(point[1]), int(point[0]))
    return groups


def refine(groups: np.ndarray, heatmap: np.ndarray, tag_maps: np.ndarray) -> np.ndarray:
    """Gives every person the keypoints that it lacks, where the map says anything for them.

    Args:
        groups: [G, K, 3 + T], from `adjust`.
        heatmap: [K, H, W].
        tag_maps: [K, H, W, T].
    """
    groups = groups.copy()
    for person in groups:
        found = [k for k in range(len(person)) if person[k, 2] > 0]
        if not found:
            continue
        mean = np.mean([tag_maps[k, int(person[k, 1]), int(person[k, 0])] for k in found], axis=0)
        # The published procedure looks for every keypoint, and then keeps those it lacks.
        for k in range(len(person)):
            distance = np.sqrt(((tag_maps[k] - mean) ** 2).sum(axis=2))
            y, x = np.unravel_index(np.argmax(heatmap[k] - np.round(distance)), distance.shape)
            if person[k, 2] == 0 and heatmap[k, y, x] > 0:
                person[k, :2] = _inside_pixel(heatmap[k], int(y), int(x))
                person[k, 2] = heatmap[k, y, x]
    return groups


def _inside_pixel(heatmap: np.ndarray, y: int, x: int) -> tuple[float, float]:
    """x and y within pixel (y, x)."""
    height, width = heatmap.shape
    right = heatmap[y, min(x + 1, width - 1)] > heatmap[y, max(x - 1, 0)]
    down = heatmap[min(y + 1, height - 1), x] > heatmap[max(y - 1, 0), x]
    return x + 0.5 + (0.25 if right else -0.25), y + 0.5 + (0.25 if down else -0.25)


def find_people(
    heatmap: np.ndarray, tag_maps: np.ndarray, order: tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """All people of one image's maps, as groups [G, K, 3 + T], and their scores [G].

    Args:
        heatmap: [K, H, W].
        tag_maps: [K, T, H, W].
        order: in which the keypoints are taken.
    """
    tag_maps = np.moveaxis(tag_maps, 1, -1)
    groups = adjust(group(*_candidates(heatmap, tag_maps), order), heatmap)
    return refine(groups, heatmap, tag_maps), groups[..., 2].mean(axis=1)


def _candidates(
    heatmap: np.ndarray, tag_maps: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Values, x and y, and tags of the highest peaks."""
    width = heatmap.shape[2]
    highest = np.stack([cv2.dilate(one, np.ones((5, 5), np.uint8)) for one in heatmap])
    peaks = np.where(heatmap == highest, heatmap, 0).reshape(len(heatmap), -1)
    index = np.argsort(-peaks, axis=1, kind="stable")[:, :MAX_PEOPLE]
    y, x = index // width, index % width
    channel = np.arange(len(heatmap))[:, None]
    return peaks[channel, index], np.stack([x, y], axis=-1), tag_maps[channel, y, x]


def crowd(
    rng: np.random.Generator, *, people: int = 30, spread: float = 10.0, strays: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Candidates of a made-up crowd, as `group` takes them: 17 keypoints, two tags each.

    Args:
        rng: of all that is random.
        people: who have all keypoints each; M with the strays.
        spread: their tags are uniform in +-this, and each keypoint's 0.2 off: below 15 they mix.
        strays: of each keypoint that many candidates have any tag.
    """
    own = np.concatenate([rng.uniform(-spread, spread, people - strays), np.zeros(strays)])
    noise = np.where(np.arange(people) < people - strays, 0.2, spread)
    tags = own[None, :, None] + noise[None, :, None] * rng.normal(size=(17, people, 2))
    values = np.sort(rng.uniform(0.12, 1, (17, people)), axis=1)[:, ::-1]
    order = rng.permuted(np.tile(np.arange(people), (17, 1)), axis=1)[..., None]
    xy = rng.integers(0, 512, (17, people, 2))
    return values.astype(np.float32), xy, np.take_along_axis(tags, order, axis=1).astype(np.float32)
