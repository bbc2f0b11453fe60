"""The lesson of a visitor's own model: its recording is followed once more, if the model is still open."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from viz.checks import short
from viz.page.interrupt import interruptible
from viz.page.open_models import open_models
from viz.page.runs import Session
from viz.recipe import MAX_STEPS, RecipeError

# Imports inside functions: torch is loaded with the first model, after the page is served.
if TYPE_CHECKING:
    from viz.lesson.watch import Replay
    from viz.page.own_model import OwnModel

# {model: the last run that was followed with it}, as long as the model is open.
_latest: WeakKeyDictionary[OwnModel, tuple[str, Replay]] = WeakKeyDictionary()


def own_choice(recipe: object, size: object, session: Session) -> str:
    """The recipe of an own model's recording as a value of the page, checked as far as possible without the model.

    Args:
        recipe: as in the trace.
        size: of its picture, [height, width].
        session: of the visitor.

    Raises:
        RecipeError: when it cannot be followed, saying what to do.
    """
    if not isinstance(recipe, dict) or not isinstance(recipe.get("model"), str) or "sampler" not in recipe:
        raise RecipeError("It doesn't say how it was made. Draw a picture with a model that is open here.")
    if recipe.get("photo"):
        raise RecipeError("It was made from a photo, which isn't kept. Draw a picture with this model instead.")
    model = _open_model(recipe["model"], session)
    if model.takes_image:
        raise RecipeError("This model starts from a picture that the recording doesn't keep, so it can't be repeated.")
    if not isinstance(size, list | tuple) or len(size) != 2 or not all(type(side) is int for side in size):
        raise RecipeError("It doesn't say how large its picture is.")
    return json.dumps({"own": recipe, "size": size}, sort_keys=True)


def number_of_steps(recipe: dict) -> int:
    """How many steps a recipe that `own_recipe` returned says it has; RecipeError if that is no number of steps."""
    steps = recipe.get("steps")
    if type(steps) is not int or not 0 < steps <= MAX_STEPS:
        raise RecipeError(f"The number of steps must be a whole number from 1 to {MAX_STEPS}; got {short(steps)}.")
    return steps


def own_recipe(run: object) -> dict | None:
    """The recipe in a value that `own_choice` made; None for any other."""
    try:
        values = json.loads(run) if isinstance(run, str) else None
    except (ValueError, RecursionError):
        return None
    return values["own"] if isinstance(values, dict) and isinstance(values.get("own"), dict) else None


def _recipe_in(run: str) -> dict:
    if (recipe := own_recipe(run)) is None:
        raise RecipeError("This picture was not made with your model. Choose the network that made it.")
    return recipe


def _open_model(name: str, session: Session) -> OwnModel:
    try:
        return open_models.get(session, name)
    except RecipeError as error:
        raise RecipeError(
            f"It was made with {name[:100]}, which isn't open now. Open it under “Use your own model”, then come back."
        ) from error


def own_layers(run: str, session: Session) -> list[str]:
    """The names of the attention layers of the visitor's model, which made a recording.

    Raises:
        RecipeError: when it is not open any more.
    """
    from viz.probes import find_sites

    return list(find_sites(_open_model(_recipe_in(run)["model"], session).pipeline.unet)[0])


def write_own_lesson(run: str, layer: str, step: int, path: Path, stopped: threading.Event, session: Session) -> None:
    """Follow an own model's recipe, unless that was the last one followed, and write the lesson of one layer.

    Raises:
        viz.page.line.Stopped: when `stopped` was set before its run had ended.
        RecipeError: when the model is not open any more, or its recipe holds values that are not allowed.
        IndexError, KeyError, ValueError: when the layer cannot be shown at this step.
    """
    from viz.lesson.file import write_lesson

    recipe = _recipe_in(run)
    model = _open_model(recipe["model"], session)
    with interruptible(model.pipeline.unet, stopped):
        calls, picture = _follow(model, run)
        write_lesson(
            model.pipeline.unet,
            calls[step],
            layer,
            path,
            picture=picture,
            caption=str(recipe.get("caption", "")),
            step=step,
            words=_words_of(model, recipe.get("caption", ""), layer),
        )


def _follow(model: OwnModel, run: str) -> Replay:
    if model in _latest and _latest[model][0] == run:
        return _latest[model][1]
    import numpy as np

    from models.sampling import order as sampling
    from viz.lesson.watch import replay_run

    values = json.loads(run)
    recipe, (height, width) = values["own"], values["size"]
    fields = {name: recipe.get(name) for name in ("seed", "steps", "guidance")}
    order = model.build_order(
        prompt=recipe.get("caption"), negative=recipe.get("negative"), height=height, width=width, **fields
    )

    def draw() -> np.ndarray:
        return np.asarray(sampling.draw_picture(model.pipeline, order, lambda step: None).convert("RGB"))

    _latest.pop(model, None)  # makes room first
    with model.use_sampler(recipe["sampler"]):
        _latest[model] = run, replay_run(model.pipeline.unet, draw)
    return _latest[model][1]


def _words_of(model: OwnModel, caption: str, layer: str) -> list[str]:
    """The label of each key of a cross-attention layer, from the model's tokenizer; empty if it has none."""
    tokenizer = getattr(model.pipeline, "tokenizer", None)
    if tokenizer is None:
        return []
    ids = tokenizer(caption, padding="max_length", truncation=True).input_ids
    special = set(tokenizer.all_special_ids)
    return [f"({tokenizer.decode([i])})" if i in special else tokenizer.decode([i]).strip() for i in ids]
