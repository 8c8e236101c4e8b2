"""Exported C: compiled here without a warning, and equal to the integer reference bit for bit, tensor by tensor."""

from __future__ import annotations

import ctypes
import math
import shutil
import subprocess
import sys
from dataclasses import replace
from functools import cache
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from eyespot.bundle.build import normalise
from eyespot.core.graph import INPUT
from eyespot.core.sketch import Sketch
from eyespot.errors import ExportError, RuntimeFailure, UsageError
from eyespot.lower.c.arena import plan
from eyespot.lower.c.integer_program import Fixed, Layer, Lookup, Product, Sum
from eyespot.lower.c.run_integer import run_integer, scaled
from eyespot.lower.c.text import quoted
from eyespot.lower.c.to_c import checksum, noise, program_to_c, quantized_to_c
from eyespot.lower.c.to_integer import to_integer
from eyespot.lower.int8.fit import Recipe, store
from eyespot.lower.int8.plan import make_ready
from eyespot.lower.int8.run import run_quantized
from eyespot.lower.tensors import random_weights
from eyespot.run.compiled_c import FLAGS, CompiledCSession, compiler, sizes_of
from quantizing import pictures, quantized, ready
from tolerances import SUMMED_LEVELS

if not any(shutil.which(name) for name in ("cc", "gcc", "clang")):
    pytest.skip("needs a C compiler", allow_module_level=True)

STRICT = (*FLAGS, "-Wall", "-Wextra", "-Wconversion", "-Werror", "-pedantic")
STAND_IN = Path(__file__).parent / "cmsis"
# As a microcontroller computes, without vectors; and with all that this processor has.
LOOPS = {"scalar": ("-U__SSE2__", "-U__ARM_NEON", "-U__AVX512BW__"), "native": ("-O3", "-march=native")}

# Between them: depthwise and grouped layers, gates, residuals, concatenation, shuffles, pools, padded channels.
NETWORKS = {
    "mobilenet_v2_0.35": {"width": 0.2, "depth": 0.5}, "mobilenet_v3_small_0.75": {"width": 0.3},
    "shufflenet_v2_0.5": {},
    "shufflenet_v1_0.5_g3": {"width": 0.25}, "squeezenet_1.1": {}, "resnet20_cifar": {"depth": 8},
}  # fmt: skip


@cache
def small_network(architecture="mobilenet_v2_0.35"):
    """(ready, quantized): random weights, a few thousand of them."""
    network = ready(architecture, **NETWORKS[architecture])
    return network, quantized(network, Recipe(corrected=True))


def oddities():
    """What published networks seldom have: uneven padding, dilation, means at borders, a map that becomes a vector."""
    s = Sketch((3, 19, 17))
    x = s.act("a1", s.conv("c1", s.input, 8, kernel=(3, 5), stride=(2, 1), padding=(0, 2, 1, 1)), "relu6")
    y = s.conv("c2", x, 12, kernel=3, padding=(2, 2, 2, 2), dilation=2, groups=4)
    y = s.act("a2", y, "gelu")
    z = s.concat("join", y, x)
    z = s.max_pool("max", z, kernel=3, stride=2, padding=(0, 1, 1, 0))
    z = s.avg_pool("mean", z, kernel=3, stride=1, padding=(1, 1, 1, 1))
    z = s.conv("c3", z, 20, kernel=1)
    z = s.act("a3", s.depthwise("c4", z, kernel=3, padding=(1, 1, 1, 1)), "silu")
    z = s.avg_pool("counted", z, kernel=2, stride=2, padding=(1, 0, 0, 1), count_padding=True)
    gate = s.act("open", s.conv("c5", s.global_pool("squeeze", z), 20, kernel=1), "tanh")
    z = s.mul("gated", z, gate)
    z = s.sum("both", z, s.conv("c6", z, 20, kernel=1), s.conv("c7", s.global_pool("middle", z), 20, kernel=1))
    return s.graph(s.linear("classifier", s.flatten("flatten", z), 7))


@cache
def odd_network():
    graph = oddities()
    preprocess = replace(ready("mobilenet_v2_0.35").preprocess, size=(19, 17), channels="bgr")
    network = make_ready(graph, random_weights(graph, 3), preprocess, grey=False)
    return network, quantized(network, pixels=odd_pictures(4))


def odd_pictures(count, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, 19, 17, 3), np.uint8)


def write(folder, network, preprocess, **metadata):
    for name, data in quantized_to_c(network, preprocess=preprocess, metadata=metadata).items():
        (folder / name).write_bytes(data)
    return folder / "eyespot_model.c"


def assert_same(source, program, pixels, *flags):
    """Every tensor of the first picture, and the answers to all, are the reference's."""
    with CompiledCSession(source, trace=True, flags=[*STRICT, *flags]) as session:
        answers, seen = session.integers(pixels), session.tensors_of(pixels[:1])
    names = [step.name for step in program.steps if step.name != program.output]
    ours = run_integer(program, pixels, keep=names)
    np.testing.assert_array_equal(answers, ours[program.output])
    assert seen.keys() == set(names)
    for name in names:
        grid = program.grids[name]
        np.testing.assert_array_equal(seen[name], grid.dequantize(ours[name][:1]), err_msg=name)


@pytest.mark.parametrize("architecture", NETWORKS)
def test_the_compiled_program_is_the_reference(architecture, tmp_path):
    network, small = small_network(architecture)
    source = write(tmp_path, small, network.preprocess, name=architecture)
    assert_same(source, to_integer(small, network.preprocess), pictures(2, 32, seed=5))


def test_odd_shapes_are_the_reference_too(tmp_path):
    network, small = odd_network()
    program = to_integer(small, network.preprocess)
    assert [colour for colour, _ in program.pixels] == [2, 1, 0]
    assert_same(write(tmp_path, small, network.preprocess), program, odd_pictures(5, seed=1))


@pytest.mark.parametrize("loops", LOOPS)
def test_the_integers_do_not_depend_on_vectors(loops, tmp_path):
    """Nor on what lies in memory, behind a row of weights or in a second column."""
    for at, (network, small, pixels) in enumerate(
        [(*odd_network(), odd_pictures(3, seed=4)), (*small_network("shufflenet_v1_0.5_g3"), pictures(2, 32))]
    ):
        (tmp_path / str(at)).mkdir()
        source = write(tmp_path / str(at), small, network.preprocess)
        assert_same(source, to_integer(small, network.preprocess), pixels, *LOOPS[loops])


@pytest.mark.parametrize("loops", LOOPS)
def test_large_scales_keep_their_integers(loops, tmp_path):
    """From 1/4 on a product's lower half counts as well; one such channel changes nothing for the others."""
    network, small = odd_network()
    program = to_integer(small, network.preprocess)
    layers = [step for step in program.steps if isinstance(step, Layer)]
    assert any(layer.depthwise for layer in layers)
    larger = {
        layer.name: tuple(
            scale._replace(shift=(-2, -1, 0, 1)[c % 4] if at % 2 else -2) for c, scale in enumerate(layer.scales)
        )
        for at, layer in enumerate(layers)
    }
    steps = tuple(replace(s, scales=larger[s.name]) if isinstance(s, Layer) else s for s in program.steps)
    program = replace(program, steps=steps)
    for name, data in program_to_c(program, network.preprocess, {}).items():
        (tmp_path / name).write_bytes(data)
    assert_same(tmp_path / "eyespot_model.c", program, odd_pictures(2, seed=6), *LOOPS[loops])


@pytest.mark.parametrize("loops", LOOPS)
def test_nothing_is_left_to_the_compiler(loops, tmp_path):
    """No overflow, no read beyond an array, no pointer that is not aligned: a sanitized program proves itself."""
    checks = ("-fsanitize=undefined,address", "-fno-sanitize-recover=all", *LOOPS[loops])
    main = "static int32_t y[EYESPOT_CLASSES];\nint main(void) { return eyespot_selftest(y); }\n"
    for at, (network, small) in enumerate([odd_network(), small_network(), small_network("shufflenet_v1_0.5_g3")]):
        folder = tmp_path / str(at)
        folder.mkdir()
        source = write(folder, small, network.preprocess)
        (folder / "main.c").write_text(f'#include "eyespot_model.h"\n{main}')
        command = [*compiler(), *STRICT, *checks, "-o", folder / "run", folder / "main.c", source]
        built = subprocess.run(command, capture_output=True, text=True, check=False)
        if built.returncode and "san" in built.stderr:
            pytest.skip("this compiler has no sanitizers")
        done = subprocess.run([folder / "run"], capture_output=True, text=True, check=False)
        assert (built.returncode, done.returncode, done.stderr) == (0, 0, "")


@pytest.mark.parametrize("architecture", NETWORKS)
def test_integers_are_within_a_level_of_the_quantized_network(architecture):
    """Of those tensors whose sources are equal in both; what follows takes a step along."""
    network, small = small_network(architecture)
    within_a_level(small, network.preprocess, pictures(2, 32, seed=5))


def test_odd_integers_are_within_a_level_too():
    network, small = odd_network()
    within_a_level(small, network.preprocess, odd_pictures(3, seed=2))


def within_a_level(small, preprocess, pixels):
    program = to_integer(small, preprocess)
    names = [name for name in small.grids if name in program.made and name != INPUT]
    assert len(names) > 20 or len(program.steps) < 30
    theirs = run_quantized(small, normalise(pixels, preprocess), keep=names)
    ours = run_integer(program, pixels, keep=[program.made[name] for name in names])
    apart = {
        n: np.abs(theirs[n] - small.grids[n].dequantize(ours[program.made[n]]).reshape(theirs[n].shape)).max()
        for n in names
    }
    same = {INPUT} | {name for name in names if apart[name] == 0}
    for name in names:
        sources = list(small.graph.by_name[name].inputs)
        while any(source not in small.grids for source in sources):  # what lies between two grids
            sources = [i for s in sources for i in ([s] if s in small.grids else small.graph.by_name[s].inputs)]
        if same.issuperset(sources):
            assert round(float(apart[name] / small.grids[name].scale)) <= SUMMED_LEVELS, name


def test_the_program_notices_that_it_computes_something_else(tmp_path):
    network, small = small_network()
    source = write(tmp_path, small, network.preprocess)
    text = source.read_text()
    source.write_text(text.replace("value += ends.zero;", "value += ends.zero + 1;"))
    assert source.read_text() != text
    with pytest.raises(RuntimeFailure, match="other integers than eyespot's reference"):
        CompiledCSession(source)


def test_cmsis_nn_is_called_with_what_it_needs(tmp_path):
    """A stand-in, written from Arm's documentation, computes the layers; all integers stay what they are."""
    flags = ["-DEYESPOT_CMSIS_NN", "-DCMSIS_NN_USE_SINGLE_ROUNDING", f"-I{STAND_IN}", "-Wno-unused"]
    for at, (network, small, pixels) in enumerate(
        [(*odd_network(), odd_pictures(2)), (*small_network(), pictures(2, 32))]
    ):
        (tmp_path / str(at)).mkdir()
        source = write(tmp_path / str(at), small, network.preprocess)
        program = to_integer(small, network.preprocess)
        layers = [s for s in program.steps if isinstance(s, Layer) and s.ends and (s.depthwise or s.op.groups == 1)]
        with CompiledCSession(source, flags=[*STRICT, *flags]) as session:
            calls = ctypes.c_int.in_dll(session._library, "stand_in_calls")
            calls.value = 0
            np.testing.assert_array_equal(session.integers(pixels), run_integer(program, pixels)[program.output])
            assert calls.value == len(layers) * len(pixels)
        with CompiledCSession(source, flags=[*STRICT, *flags, "-DEYESPOT_CMSIS_SCRATCH=4"]) as session:
            assert ctypes.c_int.in_dll(session._library, "stand_in_calls").value == 0  # no room: without it
    with pytest.raises(RuntimeFailure, match="CMSIS_NN_USE_SINGLE_ROUNDING"):
        CompiledCSession(source, flags=[*FLAGS, flags[0], flags[2]])


def test_layers_in_float_are_named():
    network, _ = small_network()
    layers = [n.name for n in network.graph.nodes if n.op.kind == "conv2d"]
    small = quantized(network, Recipe(floats=frozenset(layers[3:5])))
    with pytest.raises(ExportError, match=rf"{layers[3]} \(conv2d\).* compute in float32.*--integers-only"):
        to_integer(small, network.preprocess)
    with pytest.raises(ExportError, match="compute in float32"):
        to_integer(store(network, "int8"), network.preprocess)


def test_softmax_has_no_integers():
    s = Sketch((3, 16, 16))
    x = s.linear("classifier", s.flatten("flatten", s.global_pool("pool", s.conv("conv", s.input, 8, kernel=3))), 5)
    graph = s.graph(s.softmax("probabilities", x))
    network = make_ready(graph, random_weights(graph), ready("mobilenet_v2_0.35", 16).preprocess)
    with pytest.raises(ExportError, match=r"probabilities \(softmax\) compute in float32"):
        to_integer(quantized(network), network.preprocess)


def test_a_function_of_one_tensor_is_one_table():
    """x · gate(x) needs neither the gate nor a product; a squeeze-excite gate needs its product."""
    network, small = small_network("mobilenet_v3_small_0.75")
    program = to_integer(small, network.preprocess)
    assert any(isinstance(step, Lookup) for step in program.steps)
    for step in program.steps:
        if isinstance(step, Product):
            assert program.shapes[step.inputs[1]][1:] == (1, 1)


def test_memory_is_planned():
    over = 0
    for architecture in ("mobilenet_v2_0.35", "shufflenet_v2_0.5", "resnet20_cifar"):
        network, small = small_network(architecture)
        program = to_integer(small, network.preprocess)
        arena = plan(program)
        last = {name: at for at, step in enumerate(program.steps) for name in step.inputs}
        first = {INPUT: -1} | {step.name: at for at, step in enumerate(program.steps)}
        spans = {n: (o, o + math.prod(program.shapes[n])) for n, o in arena.offsets.items()}
        for name, offset in arena.columns.items():  # where a layer works lies beside what it reads and writes
            step = program.steps[first[name]]
            end = offset + 2 * 2 * step.weight[0].size
            assert offset % 4 == 0
            assert end <= arena.size
            for other, (start, stop) in spans.items():
                assert end <= start or stop <= offset or not first[other] <= first[name] <= last.get(other, -1)
        assert spans.keys() == program.shapes.keys() - {program.output}
        for a, b in combinations(spans, 2):
            at, end = max(first[a], first[b]), min(last[a], last[b])
            beside = spans[a][1] <= spans[b][0] or spans[b][1] <= spans[a][0]
            if at == end and isinstance(program.steps[at], Lookup | Sum | Product):
                over += not beside  # elementwise: it may write over what it reads last
                assert beside or spans[a][0] == spans[b][0]
            else:
                assert beside or at > end, (a, b)
        assert max(end for _, end in spans.values()) <= arena.size
        assert arena.live <= arena.size < sum(end - start for start, end in spans.values())
    assert over


def test_figures_are_those_of_the_compiled_file(tmp_path):
    network, small = small_network()
    source = write(tmp_path, small, network.preprocess)
    program, sizes = to_integer(small, network.preprocess), sizes_of(source)
    assert sizes["zeroed"] == plan(program).size
    assert sizes["data"] == 0
    weights = sum(step.weight.size + 9 * len(step.bias) for step in program.steps if isinstance(step, Layer))
    assert weights < sizes["constants"] < weights + 128 * len(program.steps)
    assert 0 < sizes["code"] < 16384
    assert f"#define EYESPOT_ARENA {sizes['zeroed']}\n" in (tmp_path / "eyespot_model.h").read_text()


def test_the_example_program_reads_raw_pixels(tmp_path):
    (network, small), pixels = small_network(), pictures(1, 32, seed=9)
    labels = "\n".join(f"n{i}\tno. {i}: 'a\\b' \"c\" ??/ é" for i in range(10))
    write(tmp_path, small, network.preprocess, name="tiny */ x", licence="MIT", labels=labels)
    example = Path(sys.modules["eyespot"].__file__).parent / "export" / "examples" / "c.txt"
    shutil.copyfile(example, tmp_path / "main.c")
    files = [tmp_path / "main.c", tmp_path / "eyespot_model.c"]
    subprocess.run([*compiler(), *STRICT, "-o", tmp_path / "classify", *files], check=True)
    done = subprocess.run([tmp_path / "classify"], input=pixels.tobytes(), capture_output=True, check=True)
    program = to_integer(small, network.preprocess)
    best = int(run_integer(program, pixels)[program.output].argmax())
    assert done.stdout.decode().startswith(f"no. {best}: 'a\\b' \"c\" ??/ é")
    short = subprocess.run([tmp_path / "classify"], input=b"short", capture_output=True, check=False)
    assert short.returncode == 2
    assert b"3072 bytes" in short.stderr


def test_a_session_refuses_what_does_not_fit(tmp_path):
    network, small = small_network()
    session = CompiledCSession(write(tmp_path, small, network.preprocess))
    with pytest.raises(RuntimeFailure, match=r"takes uint8 \(n, 32, 32, 3\)"):
        session.run(np.zeros((1, 16, 16, 3), np.uint8))
    session.close()
    with pytest.raises(RuntimeFailure, match="closed"):
        session.run(np.zeros((1, 32, 32, 3), np.uint8))
    with pytest.raises(UsageError, match="reads uint8"):
        run_integer(to_integer(small, network.preprocess), np.zeros((1, 16, 16, 3), np.uint8))


def test_without_a_compiler_it_says_so_in_one_line(tmp_path, monkeypatch):
    monkeypatch.setenv("CC", "no-such-compiler")
    with pytest.raises(RuntimeFailure, match="'no-such-compiler' was not found; install a C compiler, or set CC"):
        compiler()
    monkeypatch.delenv("CC")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RuntimeFailure, match="none of cc, gcc, clang was found"):
        compiler()


def test_fixed_points_are_nearest_and_round_halves_up():
    for scale in (0.3, 1.0, 0.5, 1 / 3, 1e-4, 7.25, 1 - 2**-40, 2.0**-33):
        fixed = Fixed.of(scale)
        assert 0 < fixed.multiplier < 1 << 31
        assert math.isclose(fixed.multiplier * 2.0 ** (fixed.shift - 31), scale, rel_tol=2**-27)
    assert Fixed.of(0.0).multiplier == 0
    half = scaled(np.array([[-3, -1, 1, 3, 4]], np.int64), Fixed.of(0.5))
    assert half.tolist() == [[-1, 0, 1, 2, 2]]
    with pytest.raises(ExportError, match="fits no fixed point"):
        Fixed.of(2.0**31)


def test_the_picture_of_the_self_test_is_noise():
    picture = noise(8, 8)
    assert picture.shape == (1, 8, 8, 3)
    assert len(np.unique(picture)) > 100
    assert checksum(np.array([1, -2], np.int32)) != checksum(np.array([-2, 1], np.int32))


def test_strings_survive_c():
    assert quoted('a"b\\c??=é\n') == '"a\\"b\\\\c\\077\\077=\\303\\251\\012"'
