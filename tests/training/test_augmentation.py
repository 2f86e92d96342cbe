"""What augmentation may do to a photo, and what it may not."""

import torch

from training.augmentation import augment, draw, mix, mixing_share

PHOTOS = torch.rand(8, 3, 24, 32, generator=torch.Generator().manual_seed(1))


def drawn(seed: int = 0, photos: int = 8) -> torch.Tensor:
    return draw(photos, torch.Generator().manual_seed(seed))


def test_flipping_mirrors_some_photos_and_leaves_the_others() -> None:
    for photo, turned in zip(PHOTOS, augment(PHOTOS, drawn(), "flip"), strict=True):
        assert torch.equal(turned, photo) or torch.equal(turned, photo.flip(2))
    assert not torch.equal(augment(PHOTOS, drawn(), "flip"), PHOTOS)
    assert augment(PHOTOS, drawn(), "none") is PHOTOS


def test_a_photo_is_changed_by_its_own_draws_alone() -> None:
    draws = drawn()
    some = torch.tensor([1, 5])
    assert torch.allclose(augment(PHOTOS, draws)[some], augment(PHOTOS[some], draws[some]), atol=1e-6)


def test_an_object_stays_in_the_photo() -> None:
    """A bright spot a tenth from the border, in every corner, is still there after a hundred changes."""
    side = 64
    for row, column in ((6, 6), (6, 57), (57, 6), (57, 57)):
        photos = torch.zeros(100, 3, side, side)
        photos[:, :, row - 2 : row + 3, column - 2 : column + 3] = 10
        changed = augment(photos, drawn(row * side + column, 100))
        spread = changed.amax(dim=(1, 2, 3)) - changed.amin(dim=(1, 2, 3))
        assert (spread > 3).all()


def test_mixing_is_the_same_for_whoever_asks_and_keeps_most_of_a_photo() -> None:
    shares = [mixing_share(0.2, seed=3, step=step) for step in range(200)]
    assert shares == [mixing_share(0.2, seed=3, step=step) for step in range(200)]
    assert min(shares) >= 0.5
    assert min(shares) < 0.7 < 0.99 < max(shares)
    assert mix(torch.tensor([[1.0], [3.0]]), 0.75).tolist() == [[1.5], [2.5]]
