"""Language models as voters: both orders asked, position bias measured, every verdict kept (spec G2, labeling of comparisons)."""
