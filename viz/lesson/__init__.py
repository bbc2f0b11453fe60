"""What the tab *How it works* shows: one attention layer in one call of its network, in numbers.

`watch` captures the numbers, `panels` follows one cell through them, `experiments` shuffles cells and measures heads,
`papers` opens the networks to compare, and `file` packs everything for the page. In Python:

    from models import load
    from viz.lesson.panels import compute_panels
    from viz.lesson.watch import watch_recipe
    from viz.recipe import Recipe

    recipe = Recipe("a green monster with two yellow eyes", seed=7)
    layer_call = watch_recipe(load("critters"), recipe, "up_blocks.2.attentions.1.transformer_blocks.0.attn1", step=12)
    panels = compute_panels(layer_call, query=(3, 5), head=0)
    panels.row, panels.top, panels.output  # what the cell looks at, its largest entries, what comes out
"""
