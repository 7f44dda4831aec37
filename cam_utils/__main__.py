"""Maps of photographs from the shell: python -m cam_utils photo.jpg --labels tabby "studio couch"."""

import argparse
import sys
import textwrap

EXAMPLES = """
examples:
  what an EfficientNet of ImageNet sees in a photograph, as overlays/photo_281-tabby_minmax-grad-cam.jpg:
    python -m cam_utils photo.jpg
  two labels against each other, by name or index, and by another network (whose weights are downloaded once):
    python -m cam_utils photo.jpg --labels tabby "studio couch" --method minmax-cam --out overlays/
    python -m cam_utils photo.jpg --labels tabby "studio couch" --model resnet18
  a whole folder, a network of your own (its file is executed) with its weights and class names:
    python -m cam_utils pictures/ --model model.py:build --weights best.pth --classes names.txt
  what speaks against a label, and maps that show both:
    python -m cam_utils photo.jpg --labels tabby --against
    python -m cam_utils photo.jpg --labels tabby --signed
  which method keeps what the network saw: scores of several, without annotation
    python -m cam_utils pictures/ --scores grad-cam minmax-grad-cam score-cam
"""


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line, whose help teaches by examples."""
    from cam_utils.methods.registry import METHODS

    made = argparse.ArgumentParser(
        prog="python -m cam_utils",
        description="Show which pixels of photographs speak for which labels, one map per picture and label, "
        "written over the pictures.",
        epilog=EXAMPLES + "\n" + textwrap.fill(f"methods: {', '.join(METHODS)}", 100, subsequent_indent="  "),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("pictures", nargs="+", help="photographs, or one folder of them")
    made.add_argument("--labels", nargs="+", metavar="LABEL", help="names or indices (default: what is predicted)")
    made.add_argument(
        "--model",
        default="efficientnet_lite0",
        help="efficientnet_lite0 to 2, whose ImageNet weights are packages, an architecture of torchvision, "
        "timm/NAME, FILE.py:NAME, checkpoint.pt, program.pt2 or digits (default: efficientnet_lite0)",
    )
    made.add_argument("--weights", help="imagenet, or a file of weights (default of an architecture: imagenet)")
    made.add_argument("--classes", help="file with the names of the labels, one per line or JSON")
    made.add_argument("--method", default="minmax-grad-cam", help="which map (default: minmax-grad-cam)")
    made.add_argument("--layer", nargs="+", help="layer to read, by name; several are averaged (default: the last)")
    made.add_argument("--activation", choices=("sigmoid", "softmax"), help="how logits become probabilities")
    made.add_argument("--threshold", type=float, default=0.5, help="with sigmoid, labels above it are predicted")
    made.add_argument("--top", type=int, default=1, help="with softmax, so many most probable labels (default: 1)")
    made.add_argument("--size", type=int, help="side of the square that the network sees, in pixels")
    made.add_argument("--limit", type=int, help="pictures to read of a folder")
    made.add_argument("--device", default="auto", help="cpu, cuda, cuda:1, mps (default: a GPU where there is one)")
    made.add_argument("--against", action="store_true", help="show what speaks against the labels")
    made.add_argument("--signed", action="store_true", help="show both: red for the label, blue against it")
    made.add_argument("--scores", nargs="+", metavar="METHOD", help="also write scores.csv of these methods")
    made.add_argument("--out", default="overlays", help="folder that the files are written to (default: overlays)")
    return made


def run(given: argparse.Namespace) -> None:
    """Explain the pictures and write what was asked for."""
    import cam_utils
    from cam_utils.files import written
    from cam_utils.methods.registry import resolved
    from cam_utils.runs import pick_device

    for method in (given.method, *(given.scores or ())):
        resolved(method)  # a misspelt one is refused before anything is written
    weights = given.weights
    if weights is None and _is_architecture(given.model):
        weights = "imagenet"
    loaded = cam_utils.load_model(given.model, weights, classes=given.classes)
    loaded.model.to(pick_device(given.device))
    pictures = given.pictures[0] if len(given.pictures) == 1 else given.pictures
    labels = None if given.labels is None else [_label(text, loaded.classes) for text in given.labels]
    if labels is not None and len(given.pictures) > 1:
        labels = [labels] * len(given.pictures)
    how = {key: getattr(given, key) for key in ("layer", "activation", "threshold", "top", "size", "limit")}
    found = cam_utils.explain(
        loaded,
        pictures,
        labels,
        method=given.method,
        relu=not given.signed,
        target=(lambda logits: -logits) if given.against else None,
        **how,
    )
    files = found.save(given.out)
    table = found.table().assign(file=[file.name for file in files])
    print(table.to_string(index=False, float_format="{:.3f}".format))
    for name, reason in found.skipped.items():
        print(f"left out {name}: {reason}")
    print(f"{len(files)} overlays are in {given.out}")
    if given.scores:
        scores = cam_utils.evaluate(loaded, pictures, given.scores, labels, **how)
        with written(files[0].parent / "scores.csv") as partial:
            scores.to_csv(partial, index=False, float_format="%.5g")
        shown = ["p", "p_masked", "p_complement", "average_drop", "area"]
        means = scores.groupby("method", sort=False)[shown].mean()
        print(means.to_string(float_format="{:.3f}".format))
        print(f"scores.csv with {len(scores)} rows is in {given.out}")


def _is_architecture(model: str) -> bool:
    """Return whether a model is named, and so comes without weights of its own."""
    return model != "digits" and not model.endswith((".pt", ".pt2")) and ".py:" not in model


def _label(text: str, classes: tuple[str, ...] | None) -> str | int:
    """Return a label as a name, or as an index if no class has such a name."""
    return int(text) if text.isdecimal() and text not in (classes or ()) else text


def main(arguments: list[str] | None = None) -> None:
    """Parse the command line and run; ends with one sentence for what cannot be done."""
    given = parser().parse_args(arguments)
    try:
        run(given)
    except (ValueError, OSError, ImportError) as error:
        sys.exit(f"cam_utils: {' '.join(str(error).split())}")
    except KeyboardInterrupt:
        sys.exit("cam_utils: stopped")


if __name__ == "__main__":
    main()
