"""Published cards of a small network whose file lies on the loopback server, for tests and for programs they start."""

import json
import os

NAME = "mobilenet_v1_0.25.test"


def weights_file(path, seed=0):
    """A file of a thousand classes under timm's names."""
    from safetensors.numpy import save_file

    from eyespot.arch.catalogue import draw
    from eyespot.lower.tensors import random_weights
    from eyespot.weights.names import SCHEMES

    graph = draw("mobilenet_v1_0.25", {"size": 32})
    modules = SCHEMES["timm.mobilenet_v1"].modules(graph)
    named = {name.rpartition("."): tensor for name, tensor in random_weights(graph, seed).items()}
    save_file({f"{modules[node]}.{short}": tensor for (node, _, short), tensor in named.items()}, path)
    return path.read_bytes()


def entry(**changes):
    """An entry of an index file."""
    return {
        "name": NAME,
        "architecture": "mobilenet_v1_0.25",
        "arguments": {"size": 32},
        "scheme": "timm.mobilenet_v1",
        "preprocess": {"size": [32, 32]},
        "labels": "imagenet_1k",
        **changes,
    }


def publish(made):
    """Adds an entry to the published cards of this process."""
    from eyespot.bundle.published import published

    published()._entries[made["name"]] = made


def card(made):
    """The card of an entry."""
    from eyespot.bundle.published import _published

    return _published(made)


if __name__ == "__main__":  # the command line, with the cards of the environment added
    for given in json.loads(os.environ["TEST_CARDS"]):
        publish(given)
    from eyespot.cli.main import main

    main()
