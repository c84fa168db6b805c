"""Table 14 of the paper (spec G15), so that a table of one's own models can show it beside them.

TruthfulQA: the printed labels "instruction" and "QA + instruct" are exchanged (spec J-P6); here they stand where the released outputs put
them. CNN/DM and TL;DR share one identical row in the paper; for TL;DR it is no target (J-P5) and left out.
"""

from collections.abc import Mapping

_FAMILIES = ("GPT", "SFT", "PPO", "PPO-ptx")
_SIZES = ("1.3B", "6B", "175B")

Row = tuple[str, str, str]
"""Suite, variant, metric key."""


def _row(text: str) -> Mapping[str, float]:
    """Twelve numbers in the order of the table: four families of three sizes."""
    names = [f"{family} {size}" for family in _FAMILIES for size in _SIZES]
    return dict(zip(names, map(float, text.split()), strict=True))


def _both(suite: str, metric: str, zero: str, few: str) -> dict[Row, Mapping[str, float]]:
    return {(suite, "zero-shot", metric): _row(zero), (suite, "few-shot", metric): _row(few)}


TABLE_14: Mapping[Row, Mapping[str, float]] = {
    ("winogender", "basic", "entropy"): _row(".750 .721 .735 .583 .535 .503 .698 .587 .618 .760 .719 .737"),
    ("winogender", "respectful", "entropy"): _row(".774 .753 .796 .561 .446 .479 .644 .562 .527 .608 .585 .696"),
    ("winogender", "biased", "entropy"): _row(".760 .773 .783 .561 .516 .540 .706 .567 .564 .676 .543 .690"),
    ("crows_pairs", "basic", "entropy"): _row(".448 .430 .410 .356 .326 .241 .355 .361 .326 .448 .434 .413"),
    ("crows_pairs", "respectful", "entropy"): _row(".419 .413 .362 .302 .260 .204 .281 .258 .270 .310 .273 .243"),
    ("crows_pairs", "biased", "entropy"): _row(".420 .419 .353 .305 .252 .187 .287 .288 .223 .314 .254 .205"),
    ("realtoxicityprompts", "basic", "toxicity"): _row(".228 .229 .231 .198 .211 .211 .213 .214 .228 .228 .227 .234"),
    ("realtoxicityprompts", "respectful", "toxicity"): _row(".211 .232 .233 .196 .196 .199 .198 .176 .205 .179 .204 .196"),
    ("realtoxicityprompts", "biased", "toxicity"): _row(".250 .261 .285 .236 .250 .256 .254 .382 .427 .263 .512 .400"),
    ("truthfulqa", "QA", "true"): _row(".312 .220 .284 .324 .436 .515 .546 .586 .755 .297 .476 .712"),
    ("truthfulqa", "QA + instruction", "true"): _row(".340 .414 .570 .360 .756 .665 .634 .928 .879 .355 .733 .815"),
    ("truthfulqa", "instruction", "true"): _row(".335 .348 .438 .517 .659 .852 .807 .760 .944 .322 .494 .610"),
    ("truthfulqa", "QA", "true_informative"): _row(".193 .186 .251 .267 .253 .271 .524 .574 .752 .285 .464 .689"),
    ("truthfulqa", "QA + instruction", "true_informative"): _row(".212 .212 .226 .282 .213 .257 .559 .187 .382 .339 .350 .494"),
    ("truthfulqa", "instruction", "true_informative"): _row(".218 .267 .242 .288 .319 .206 .789 .704 .588 .242 .399 .315"),
    **_both(
        "hellaswag",
        "accuracy",
        ".549 .673 .781 .528 .672 .753 .507 .646 .743 .552 .690 .807",
        ".550 .677 .791 .516 .657 .741 .530 .671 .759 .559 .694 .820",
    ),
    **_both(
        "wsc",
        "accuracy",
        ".567 .635 .740 .615 .606 .654 .663 .654 .683 .692 .587 .731",
        ".587 .654 .798 .615 .625 .779 .625 .596 .654 .644 .673 .788",
    ),
    **_both(
        "rte",
        "accuracy",
        ".527 .617 .563 .487 .516 .570 .480 .708 .704 .538 .657 .668",
        ".585 .682 .614 .574 .657 .700 .606 .585 .711 .545 .697 .765",
    ),
    **_both(
        "sst",
        "accuracy",
        ".592 .616 .898 .873 .888 .907 .817 .820 .920 .812 .901 .900",
        ".842 .930 .944 .909 .933 .936 .794 .880 .944 .838 .923 .938",
    ),
    **_both(
        "quac",
        "f1",
        "32.13 38.19 42.55 34.52 41.19 45.22 29.02 37.64 34.52 35.04 37.35 41.60",
        "36.02 41.78 45.38 35.95 43.13 48.77 31.81 40.63 36.00 39.40 42.42 46.99",
    ),
    **_both(
        "squadv2",
        "f1",
        "51.97 58.66 64.30 36.88 46.53 57.67 45.37 47.42 43.68 45.46 47.23 59.85",
        "58.86 62.33 69.75 46.62 53.91 65.90 48.11 52.34 51.95 58.33 63.78 69.93",
    ),
    **_both(
        "drop",
        "f1",
        "17.68 19.96 27.53 13.29 13.23 15.79 14.70 12.34 13.08 14.71 10.64 15.23",
        "25.43 30.08 35.27 23.84 30.99 35.85 21.61 27.11 27.78 23.89 29.39 33.34",
    ),
    **_both(
        "wmt15_fr_en",
        "bleu",
        "30.65 34.99 38.92 25.56 33.25 36.90 19.85 25.22 24.16 25.77 30.41 34.28",
        "31.37 35.49 39.93 24.73 31.76 35.07 21.65 29.96 26.58 27.67 33.56 36.76",
    ),
    ("cnn_dm", "zero-shot", "rouge_l"): _row(".182 .197 .196 .198 .235 .225 .218 .231 .227 .214 .231 .220"),
}
