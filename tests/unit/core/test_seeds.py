from instructloop.core.seeds import derive, permutation, stream


def test_streams_are_stable_across_processes_and_releases() -> None:
    # A golden value: saved runs depend on it.
    assert derive(7, "rollout", 300) == 876199365038224051
    assert all(0 <= derive(seed, "rollout") < 2**63 for seed in range(100))


def test_every_part_of_a_name_matters_also_its_type() -> None:
    seeds = {
        derive(7, "rollout", 300),
        derive(8, "rollout", 300),
        derive(7, "dropout", 300),
        derive(7, "rollout", 301),
        derive(7, "rollout", "300"),
    }
    assert len(seeds) == 5


def test_a_stream_and_a_permutation_repeat_for_the_same_name() -> None:
    assert stream(1, "x").random() == stream(1, "x").random()
    assert permutation(10, 1, "epoch", 0) == permutation(10, 1, "epoch", 0)
    assert permutation(10, 1, "epoch", 0) != permutation(10, 1, "epoch", 1)
    assert sorted(permutation(10, 1, "epoch", 0)) == list(range(10))
