"""What is known of every network without building it: size, cost, names in the papers; without torch."""

from typing import NamedTuple


class Facts(NamedTuple):
    """One network up to its last feature maps."""

    millions: float  # of parameters
    gmacs: float  # billions of multiply-adds of one image at 224 px, of the digits' networks at 96 px
    channels: int  # of the last feature maps
    papers: tuple[str, ...] = ()  # its names in data/paper_tables


NETWORKS = {
    "digits": Facts(0.1, 0.036, 64),
    "digits-cbam": Facts(0.1, 0.036, 64),
    "digits-acol": Facts(0.1, 0.036, 64),
    "squeezenet1_0": Facts(0.7, 0.819, 512, ("SqueezeNet1.0",)),
    "mobilenet_v2": Facts(2.2, 0.301, 1280, ("Mobilenet",)),
    "efficientnet_lite0": Facts(3.4, 0.384, 1280),
    "efficientnet_lite1": Facts(4.1, 0.501, 1280),
    "efficientnet_lite2": Facts(4.8, 0.575, 1280),
    "resnet18": Facts(11.2, 1.814, 512, ("Res-18", "ResNet-18")),
    "vgg16": Facts(14.7, 15.47, 512),
    "vgg16-gap": Facts(14.7, 15.47, 512, ("VGG16",)),
    "vgg19": Facts(20.0, 19.632, 512, ("VGG-19", "VGG19")),
    "acol-vgg19": Facts(20.0, 19.632, 512, ("VGG19",)),
    "resnet50": Facts(23.5, 4.089, 2048, ("Res-50", "ResNet50")),
    "cbam_resnet50": Facts(26.0, 4.089, 2048, ("ResNet50",)),
    "efficientnet_b6": Facts(40.7, 3.35, 2304, ("Eb6",)),
    "resnet101": Facts(42.5, 7.801, 2048, ("RN101", "Res-101", "ResNet101")),
    "resnet152": Facts(58.1, 11.514, 2048, ("Res-152",)),
}
