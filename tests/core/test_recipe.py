"""Recipes: TOML there and back, settings over them, and one line for whatever is not one."""

from __future__ import annotations

import pytest

from eyespot.core.recipe import Augment, Optimizer, Recipe
from eyespot.errors import UsageError


def test_toml_gives_the_same_recipe_back():
    recipe = Recipe(
        kind="distill",
        model='a "quoted"\\ name\n with Ümläute\x7f',
        epochs=7,
        optimizer=Optimizer("sgd", lr=1e-20, clip=1.0),
        augment=Augment(policy="trivial", area=(0.5, 1.0)),
    )
    again = Recipe.from_toml(recipe.to_toml())
    assert again == recipe
    assert again.digest == recipe.digest != Recipe().digest


def test_what_a_file_leaves_out_is_the_default():
    assert Recipe.from_toml("# a comment\nepochs = 3\n[optimizer]\nlr = 1\n") == Recipe(
        epochs=3, optimizer=Optimizer(lr=1.0)
    )


def test_settings_lie_over_a_recipe():
    recipe = Recipe().with_settings(["optimizer.lr=0.5", "augment.area=[0.1, 0.9]", "model=a.b", "norm.frozen=true"])
    assert recipe.optimizer.lr == 0.5
    assert recipe.augment.area == (0.1, 0.9)
    assert recipe.model == "a.b"
    assert recipe.norm.frozen is True
    assert recipe.with_settings([]) == recipe


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("optimizer.lrr=1", "there is no optimizer.lrr; the nearest are lr"),
        ("optimizr.lr=1", "the nearest are optimizer"),
        ("optimizer.lr=x", "optimizer.lr is 'x'; it must be a number"),
        ("optimizer.lr=-1", "it must be 0 or more"),
        ("optimizer.lr=true", "it must be a number"),
        ("speed.checkpoint=nan", "it must be 0 or more"),
        ("speed.checkpoint=inf", "it must be 0 or more"),
        ("augment.policy=tri", "none or trivial or rand"),
        ("augment.area=[1, 0.5]", "must not be the larger"),
        ("augment.area=[1]", "a list of 2 numbers"),
        ("augment=3", "augment is a section"),
        ("seed.x=1", "seed is no section"),
        ("epochs=3.5", "an integer"),
        ("norm.frozen=1", "true or false"),
        ("epochs", "is not KEY=VALUE"),
    ],
)
def test_a_wrong_setting_is_one_line_that_says_what_is_legal(setting, said):
    with pytest.raises(UsageError) as error:
        Recipe().with_settings([setting])
    assert said in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("epochs = ", "my.toml is not TOML"),
        ("epoch = 3", "my.toml: there is no epoch; the nearest are epochs"),
        ("optimizer = 3", "optimizer is a section"),
        ("[optimizer]\nmomentun = 3", "there is no optimizer.momentun; the nearest are momentum"),
        ("kind = 'tune'", "probe or finetune or scratch or distill"),
    ],
)
def test_a_wrong_file_is_one_line_too(text, said):
    with pytest.raises(UsageError, match=said):
        Recipe.from_toml(text, source="my.toml")
