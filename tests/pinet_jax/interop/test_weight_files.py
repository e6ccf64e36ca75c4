"""Weight files: exact round trips, and strangers' files refused without running them."""

import argparse
import os
import pickle

import numpy as np
import pytest

from pinet_jax.errors import InputError
from pinet_jax.interop.weight_files import read_arrays, write_arrays

SUFFIXES = [".npz", ".safetensors", ".pth", ".pth.tar"]


def arrays():
    rng = np.random.default_rng(0)
    return {
        "a.weight": rng.normal(size=(3, 2, 1, 1)).astype(np.float32).transpose(1, 0, 2, 3),
        "a.num_batches_tracked": np.zeros((), np.int64),
    }


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_what_is_written_is_read_back_exactly(suffix, tmp_path):
    if "pth" in suffix:
        pytest.importorskip("torch")
    path = tmp_path / f"weights{suffix}"
    write_arrays(path, arrays())
    back = read_arrays(path)
    assert back.keys() == arrays().keys()
    for name, array in arrays().items():
        np.testing.assert_array_equal(back[name], array, strict=True)
    assert os.listdir(tmp_path) == [path.name]


def test_torch_reads_what_we_export_into_a_module(tmp_path):
    torch = pytest.importorskip("torch")
    module = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1), torch.nn.BatchNorm2d(4))
    state = {name: tensor.numpy().copy() for name, tensor in module.state_dict().items()}
    write_arrays(tmp_path / "m.pth", {name: array + 1 for name, array in state.items()})
    module.load_state_dict(torch.load(tmp_path / "m.pth", weights_only=True))
    np.testing.assert_array_equal(module[0].weight.detach().numpy(), state["0.weight"] + 1)


def test_wrapped_and_prefixed_training_checkpoints_are_read(tmp_path):
    torch = pytest.importorskip("torch")
    content = {
        "epoch": 7,
        "perf": 0.5,
        "optimizer": {"lr": 1e-3},
        "state_dict": {"module.a": torch.ones(2, dtype=torch.bfloat16)},
    }
    torch.save(content, tmp_path / "checkpoint.pth.tar")
    read = read_arrays(tmp_path / "checkpoint.pth.tar")
    np.testing.assert_array_equal(read["a"], np.ones(2, np.float32), strict=True)


class Malicious:
    """Makes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.mark.parametrize("suffix", [".pth", ".npz"])
def test_code_in_a_file_is_never_run(suffix, tmp_path):
    trap, path = tmp_path / "sprung", tmp_path / f"weights{suffix}"
    if suffix == ".pth":
        pytest.importorskip("torch")
        path.write_bytes(pickle.dumps({"a": Malicious(trap)}))
    else:
        with open(path, "wb") as file:
            np.savez(file, a=np.array([Malicious(trap)], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match=f"weights{suffix}") as error:
        read_arrays(path)
    assert not trap.exists()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("content", [b"", b"not weights at all", b"PK\x03\x04broken"])
def test_broken_files_are_refused_by_name(suffix, content, tmp_path):
    if "pth" in suffix:
        pytest.importorskip("torch")
    path = tmp_path / f"weights{suffix}"
    path.write_bytes(content)
    with pytest.raises(InputError, match="weights") as error:
        read_arrays(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("suffix", [".npz", ".safetensors", ".pth"])
def test_cut_off_files_are_refused(suffix, tmp_path):
    path = tmp_path / f"weights{suffix}"
    if suffix == ".pth":
        pytest.importorskip("torch")
    write_arrays(path, {"a": np.ones((100, 100), np.float32)})
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(InputError, match="weights"):
        read_arrays(path)


def test_what_is_no_weight_file_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"absent\.npz: no such file"):
        read_arrays(tmp_path / "absent.npz")
    (tmp_path / "weights.h5").write_bytes(b"x")
    with pytest.raises(InputError, match=r"weights\.h5: not a weight file"):
        read_arrays(tmp_path / "weights.h5")
    with pytest.raises(InputError, match=r"weights\.h5: write to"):
        write_arrays(tmp_path / "weights.h5", {})
    assert os.listdir(tmp_path) == ["weights.h5"]


def test_a_torch_file_of_other_things_is_refused(tmp_path):
    torch = pytest.importorskip("torch")
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(InputError, match=r"list\.pth: holds a list"):
        read_arrays(tmp_path / "list.pth")
    torch.save({"a": "text"}, tmp_path / "text.pth")
    with pytest.raises(InputError, match=r"text\.pth.*'a' is no tensor"):
        read_arrays(tmp_path / "text.pth")


@pytest.mark.parametrize("key", ["state_dict", "model", "model_state_dict"])
def test_what_training_scripts_keep_beside_the_weights_is_no_obstacle(key, tmp_path):
    torch = pytest.importorskip("torch")
    beside = {
        "epoch": 1,
        "perf": np.float64(0.6),
        "best": np.float32(1),
        "count": np.int64(3),
        "history": np.arange(3.0),
        "args": argparse.Namespace(lr=0.1),
    }
    torch.save({key: {"module.a": torch.ones(2)}, **beside}, tmp_path / "a.pth")
    read = read_arrays(tmp_path / "a.pth")
    assert read.keys() == {"a"}
    np.testing.assert_array_equal(read["a"], [1, 1])


def test_what_stands_in_the_way_is_named_on_one_line(tmp_path):
    torch = pytest.importorskip("torch")
    torch.save(torch.nn.Linear(2, 2), tmp_path / "a.pth")
    with pytest.raises(InputError) as caught:
        read_arrays(tmp_path / "a.pth")
    message = str(caught.value)
    assert "it holds a torch.nn.modules.linear.Linear); save its state dict alone" in message
    assert message.isprintable()
