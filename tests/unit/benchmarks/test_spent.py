"""Profiled operations fall into the right groups, and the shares add up."""

import pytest
from spent import BETWEEN, GROUPS, group_of, grouped, render


@pytest.mark.parametrize(
    ("operation", "group"),
    [
        ("aten::addmm", "matrix products"),
        ("mkldnn::_linear_pointwise", "matrix products"),
        ("aten::_scaled_dot_product_flash_attention_for_cpu", "attention"),
        ("aten::_fused_adamw_", "optimizer and clipping"),
        ("aten::_log_softmax_backward_data", "softmax, loss, drawing"),
        ("aten::index_select", "copies, gathers, padding"),
        ("aten::mul", "elementwise and sums"),
    ],
)
def test_an_operation_belongs_to_a_group(operation: str, group: str) -> None:
    assert group_of(operation) == group


def test_shares_are_of_the_unprofiled_time_and_the_rest_lies_between() -> None:
    shares = grouped({"aten::mm": 1.0, "aten::bmm": 0.5, "aten::mul": 0.5}, total=4.0)
    assert shares["matrix products"] == 0.375
    assert shares["elementwise and sums"] == 0.125
    assert shares[BETWEEN] == 0.5


def test_a_row_for_each_work() -> None:
    text = render({("SFT", "tiny"): grouped({"aten::mm": 3.0}, total=4.0)})
    assert "| SFT | tiny | 75% |" + " 0% |" * (len(GROUPS) - 1) + " 25% |" in text.splitlines()
    assert render({}) == ""
