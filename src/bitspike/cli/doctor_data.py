"""Where `bitspike doctor` finds each data set."""

from __future__ import annotations


def where(name: str) -> str:
    """The folder a set's files are in, or how to get them."""
    from bitspike.data.cifar import CIFAR10_NAMES, CIFAR100_NAMES
    from bitspike.data.mnist import FASHION_NAMES, MNIST_NAMES
    from bitspike.data.nmnist import NAMES
    from bitspike.data.sources import find_folder

    known = {"mnist": MNIST_NAMES, "fashion-mnist": FASHION_NAMES, "nmnist": NAMES}
    known |= {"cifar10": CIFAR10_NAMES, "cifar100": CIFAR100_NAMES}
    if name == "svhn":
        return _svhn()
    if name == "folder":
        return "your own, with data.options.path"
    if name not in known:
        return "embedded or generated"
    found = find_folder(known[name], None)
    if found is not None:
        return str(found)
    return "downloaded on first use" if name == "mnist" else f"not found: put '{known[name][0]}' into BITSPIKE_DATA"


def _svhn() -> str:
    """Its files stand by themselves, in one of several folders, each where it is found first."""
    from bitspike.data.sources import search_folders
    from bitspike.data.svhn import FOLDERS

    homes = [base / inner for base in search_folders(None) for inner in FOLDERS]
    found = {
        file: next((home for home in homes if (home / file).is_file()), None)
        for file in ("train_32x32.mat", "test_32x32.mat")
    }
    missing = " and ".join(f"'{FOLDERS[0]}/{file}'" for file, home in found.items() if home is None)
    if missing:
        return f"not found: put {missing} into BITSPIKE_DATA"
    return ", ".join(dict.fromkeys(str(home) for home in found.values()))
