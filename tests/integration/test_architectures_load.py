"""Each architecture and a real small model from disk, through policy and reward model, to disk and back in plain transformers."""

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer, PreTrainedTokenizerBase

from instructloop.config import ComputeConfig, LoraConfig, SamplingConfig
from instructloop.core.records import Prompt
from instructloop.data import TextCodec, TokenSequence, collate
from instructloop.generation import TorchEngine
from instructloop.models import add_lora, completion_logprobs, load_causal, load_scalar, load_tokenizer, save_causal, save_scalar, text_nll
from instructloop.runs import RunDir
from instructloop.testing import ARCHITECTURES, save_tiny, tiny_model, tiny_tokenizer

CPU = ComputeConfig(device="cpu")


def one_round(path: Path, tokenizer: PreTrainedTokenizerBase, out: Path) -> None:
    """A step of training on own samples, saved, and opened by the library's classes."""
    codec = TextCodec(tokenizer)
    policy = load_causal(path, CPU)
    add_lora(policy, LoraConfig(rank=2), seed=0)
    optimizer = torch.optim.AdamW([value for value in policy.parameters() if value.requires_grad], lr=1e-3)
    prompts = [Prompt(prompt="Once upon a time"), Prompt(prompt="One day, a big dog")]
    engine = TorchEngine(policy, codec)
    rollouts = engine.generate(prompts, n=4, sampling=SamplingConfig(max_new_tokens=16), seed=0)
    before = completion_logprobs(policy, rollouts.batch)
    (-before.logprobs.sum()).backward()
    optimizer.step()
    after = completion_logprobs(policy, rollouts.batch).logprobs.detach()
    assert float(after.sum()) > float(before.logprobs.detach().sum())
    save_causal(policy, codec, out / "policy", card="# Policy")
    plain = AutoModelForCausalLM.from_pretrained(out / "policy")
    assert type(plain) is type(policy)
    torch.testing.assert_close(completion_logprobs(plain, rollouts.batch).logprobs.detach(), after, atol=1e-4, rtol=1e-4)

    reward = load_scalar(out / "policy", CPU, seed=1)
    reward.score_bias.fill_(-0.75)
    save_scalar(reward, codec, out / "reward", card="# Reward model")
    judge = AutoModelForSequenceClassification.from_pretrained(out / "reward")
    padder = AutoTokenizer.from_pretrained(out / "reward")
    rows = [TokenSequence(row.ids, row.prompt_length) for row in rollouts.batch.sequences()]
    filled = collate(rows, padder.pad_token_id)
    inputs = {"input_ids": filled.tokens, "attention_mask": filled.attention_mask.long()}
    torch.testing.assert_close(judge(**inputs).logits[:, 0] - 0.75, reward.scores(collate(rows, codec.pad_id)), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_a_random_model_of_each_architecture_makes_the_round(tmp_path: Path, arch: str) -> None:
    path = save_tiny(str(tmp_path / "start"), tiny_model(arch), tiny_tokenizer(pad_is_eos=True))
    one_round(Path(path), load_tokenizer(path), tmp_path)


def test_stories260k_makes_the_round_and_still_speaks(tmp_path: Path, shared: Path) -> None:
    path = shared / "models" / "model-stories260K"
    tokenizer = load_tokenizer(path)
    one_round(path, tokenizer, tmp_path)
    codec = TextCodec(tokenizer)
    engine = TorchEngine(load_causal(path, CPU), codec)
    rollouts = engine.generate([Prompt(prompt="Once upon a time")], sampling=SamplingConfig(max_new_tokens=40, temperature=0), seed=0)
    assert rollouts.completions[0].startswith(", there was a little girl named Lily. She loved to play outside in the park.")
    block = torch.tensor([codec.encode_text("Once upon a time" + rollouts.completions[0])])
    assert float(text_nll(engine.model, block).detach()) < 1.0


def test_a_run_directory_stands_for_the_model_it_published(tmp_path: Path) -> None:
    model, tokenizer = tiny_model("llama"), tiny_tokenizer()
    with RunDir.open(tmp_path / "run", stage="sft", config={"seed": 0}) as run:
        run.publish("model", lambda path: save_causal(model, tokenizer, path, card="# Policy"))
    again = load_causal(tmp_path / "run", CPU)
    batch = collate([TokenSequence((1, 5, 6, 7, 2), 2)], 0)
    assert torch.equal(completion_logprobs(again, batch).logprobs, completion_logprobs(model, batch).logprobs)
    assert load_tokenizer(tmp_path / "run").get_vocab() == tokenizer.get_vocab()
