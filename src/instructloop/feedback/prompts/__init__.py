"""The prompt pipeline (spec A): import, owners and splits, duplicates, languages, personal data, few-shot templates, tables."""

from instructloop.feedback.prompts.categories import TABLE_7, USE_CASE_LABELS, use_case
from instructloop.feedback.prompts.checks import Finding, check_splits, consent_findings, personal_findings, split_findings
from instructloop.feedback.prompts.duplicates import NearIndex, exact_key, similarity
from instructloop.feedback.prompts.facts import PromptFacts, facts_of_file, facts_of_store
from instructloop.feedback.prompts.fewshot import FewshotPair, FewshotTemplate, expand, sample_sets
from instructloop.feedback.prompts.importing import ImportResult, import_prompts
from instructloop.feedback.prompts.language import Language, identify
from instructloop.feedback.prompts.lengths import ESTIMATE, TRAINING_LIMIT_TOKENS, TokenCounter, estimated_tokens, tokenizer_counter
from instructloop.feedback.prompts.owners import PER_OWNER, SplitShares, at_most_per_owner, owner_of, split_of
from instructloop.feedback.prompts.pii import DEFAULT_REGIONS, DEFAULT_TYPES, OPTIONAL_TYPES, PiiSpan, find_pii, redact
from instructloop.feedback.prompts.pii_names import spacy_names
from instructloop.feedback.prompts.pii_report import TypeScore, score, score_file
from instructloop.feedback.prompts.planning import ImportRules, Plan, plan_import
from instructloop.feedback.prompts.reading import PlacedPrompt, read_inputs
from instructloop.feedback.prompts.review import Quarantined, quarantined, review
from instructloop.feedback.prompts.rows import Defaults, PromptInput, parse_row
from instructloop.feedback.prompts.sampling import draw_prompts
from instructloop.feedback.prompts.tables import Cell, Table, prompt_tables

__all__ = [
    "DEFAULT_REGIONS",
    "DEFAULT_TYPES",
    "ESTIMATE",
    "OPTIONAL_TYPES",
    "PER_OWNER",
    "TABLE_7",
    "TRAINING_LIMIT_TOKENS",
    "USE_CASE_LABELS",
    "Cell",
    "Defaults",
    "FewshotPair",
    "FewshotTemplate",
    "Finding",
    "ImportResult",
    "ImportRules",
    "Language",
    "NearIndex",
    "PiiSpan",
    "PlacedPrompt",
    "Plan",
    "PromptFacts",
    "PromptInput",
    "Quarantined",
    "SplitShares",
    "Table",
    "TokenCounter",
    "TypeScore",
    "at_most_per_owner",
    "check_splits",
    "consent_findings",
    "draw_prompts",
    "estimated_tokens",
    "exact_key",
    "expand",
    "facts_of_file",
    "facts_of_store",
    "find_pii",
    "identify",
    "import_prompts",
    "owner_of",
    "parse_row",
    "personal_findings",
    "plan_import",
    "prompt_tables",
    "quarantined",
    "read_inputs",
    "redact",
    "review",
    "sample_sets",
    "score",
    "score_file",
    "similarity",
    "spacy_names",
    "split_findings",
    "split_of",
    "tokenizer_counter",
    "use_case",
]
