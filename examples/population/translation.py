"""Translation from German to English: a small Transformer on Multi30k, scored by BLEU.

    python examples/population/translation.py --strategy population --out runs/translation
    pip install -e '.[domains]'        BITSPIKE_DATA/multi30k holds train.de.gz, train.en.gz, val.*, test_2016_flickr.*

Sub-words by SentencePiece, one vocabulary for both languages, learned from the training sentences. Encoder and decoder
are torch's, embeddings are shared with the output. Learning rate, dropout and label smoothing evolve, by BLEU
(sacrebleu) of greedy translations of the first validation sentences; `--replay` trains the schedule that was found
again, stretched to more updates, and prints BLEU on the test sentences over them.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
from pathlib import Path
from typing import Any

import torch
from domain import Member, command, conclude, evolved, machine, options
from torch import Tensor, nn

SPACE = {
    "lr": {"kind": "log-uniform", "low": 1e-4, "high": 1e-2},
    "dropout": {"kind": "uniform", "low": 0.0, "high": 0.4},
    "smoothing": {"kind": "uniform", "low": 0.0, "high": 0.2},
}
VOCABULARY, PAD, BEGIN, END = 4000, 0, 1, 2
WIDTH, HEADS, LAYERS, BATCH, WARM_UP = 128, 4, 2, 64, 200
LONGEST, SCORED = 48, 200


def sentences(folder: Path, part: str, language: str) -> list[str]:
    """Lines of one file."""
    path = folder / f"{part}.{language}.gz"
    if not path.exists():
        raise SystemExit(f"multi30k: no '{path}', wanted BITSPIKE_DATA with multi30k/ in it")
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return file.read().splitlines()


def sub_words(lines: list[str], size: int) -> Any:
    """A SentencePiece model of these lines."""
    import sentencepiece

    made = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines), model_writer=made, vocab_size=size, model_type="bpe", pad_id=PAD, bos_id=BEGIN,
        eos_id=END, unk_id=3, num_threads=1, minloglevel=2,
    )  # fmt: skip
    return sentencepiece.SentencePieceProcessor(model_proto=made.getvalue())


class Transformer(nn.Module):
    """Sources and beginnings of targets, (B, S) and (B, T), to logits of what comes next, (B, T, vocabulary)."""

    def __init__(self, vocabulary: int, dropout: float) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(vocabulary, WIDTH), nn.Embedding(LONGEST + 2, WIDTH)
        nn.init.normal_(self.words.weight, std=WIDTH**-0.5)
        nn.init.normal_(self.places.weight, std=0.1 * WIDTH**-0.5)
        self.dropout = nn.Dropout(dropout)
        how = {"dim_feedforward": 4 * WIDTH, "dropout": dropout, "batch_first": True, "norm_first": True}
        last = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        layers = nn.TransformerEncoderLayer(WIDTH, HEADS, **how), nn.TransformerDecoderLayer(WIDTH, HEADS, **how)
        self.encoder = nn.TransformerEncoder(layers[0], LAYERS, last[0], enable_nested_tensor=False)
        self.decoder = nn.TransformerDecoder(layers[1], LAYERS, last[1])

    def embedded(self, tokens: Tensor) -> Tensor:
        """Words and places."""
        places = self.places(torch.arange(tokens.shape[1]))
        return self.dropout(self.words(tokens) * WIDTH**0.5 + places)

    def encode(self, source: Tensor) -> Tensor:
        """What the decoder looks at, (B, S, width)."""
        return self.encoder(self.embedded(source), src_key_padding_mask=source == PAD)

    def decode(self, memory: Tensor, source: Tensor, target: Tensor) -> Tensor:
        """Logits after each word of a beginning."""
        ahead = torch.ones(target.shape[1], target.shape[1], dtype=torch.bool).triu(1)
        found = self.decoder(
            self.embedded(target), memory, tgt_mask=ahead, memory_key_padding_mask=source == PAD, tgt_is_causal=True
        )
        return found @ self.words.weight.T

    @torch.no_grad()
    def translate(self, source: Tensor) -> Tensor:
        """The likeliest word after each, (B, at most LONGEST)."""
        memory = self.encode(source)
        target = torch.full((len(source), 1), BEGIN)
        running = torch.ones(len(source), dtype=torch.bool)
        while bool(running.any()) and target.shape[1] <= LONGEST:
            word = self.decode(memory, source, target)[:, -1].argmax(-1)
            target = torch.cat([target, torch.where(running, word, PAD)[:, None]], 1)
            running &= word != END
        return target[:, 1:]


class Translator(Member):
    """A Transformer and its sentences; every member sees them in an order of its own."""

    def __init__(self, folder: Path, seed: int, most: int | None = None, vocabulary: int = VOCABULARY) -> None:
        """most: training pairs."""
        super().__init__(seed)
        self.folder = folder
        pairs = [sentences(folder, "train", language)[:most] for language in ("de", "en")]
        self.pieces = sub_words(pairs[0] + pairs[1], vocabulary)
        self.train = [self.tokens(lines) for lines in pairs]

    def tokens(self, lines: list[str]) -> list[list[int]]:
        """Numbers of sub-words with an end behind them, cut to LONGEST."""
        return [[*row[: LONGEST - 1], END] for row in self.pieces.encode(lines)]

    def build(self, values: dict[str, Any]) -> dict[str, Any]:
        """The network and its optimiser."""
        self.model = Transformer(self.pieces.vocab_size(), values["dropout"])
        adam = torch.optim.Adam(self.model.parameters(), values["lr"], betas=(0.9, 0.98))
        return {"model": self.model, "optimiser": adam}

    def update(self, source: torch.Generator) -> float:
        """Cross-entropy of the next word, on a batch of sentences of about the same length."""
        drawn = torch.randint(len(self.train[0]), (8 * BATCH,), generator=source).tolist()
        drawn.sort(key=lambda row: len(self.train[1][row]))
        begin = int(torch.randint(7 * BATCH, (), generator=source))
        german, english = ([side[row] for row in drawn[begin : begin + BATCH]] for side in self.train)
        given, target = padded(german), padded(english)
        self.model.train()
        memory = self.model.encode(given)
        logits = self.model.decode(memory, given, torch.cat([torch.full((BATCH, 1), BEGIN), target[:, :-1]], 1))
        loss = nn.functional.cross_entropy(
            logits.flatten(0, 1), target.flatten(), ignore_index=PAD, label_smoothing=self.values["smoothing"]
        )
        optimiser = self.parts["optimiser"]
        optimiser.param_groups[0]["lr"] = self.values["lr"] * min(1.0, (self.made + 1) / WARM_UP)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        optimiser.step()
        return float(loss.detach())

    def measure(self) -> float:
        """BLEU of the first SCORED validation sentences."""
        return self.bleu("val", SCORED)

    def bleu(self, part: str, most: int | None = None) -> float:
        """Corpus BLEU of greedy translations."""
        import sacrebleu

        german, english = (sentences(self.folder, part, language)[:most] for language in ("de", "en"))
        self.model.eval()
        rows = self.tokens(german)
        order = sorted(range(len(rows)), key=lambda row: len(rows[row]))
        said = [""] * len(rows)
        for begin in range(0, len(order), 100):
            some = order[begin : begin + 100]
            for row, words in zip(some, self.model.translate(padded([rows[k] for k in some])).tolist(), strict=True):
                said[row] = self.pieces.decode(words[: words.index(END)] if END in words else words)
        return float(sacrebleu.corpus_bleu(said, [english]).score)


def digests(folder: Path) -> dict[str, str]:
    """SHA-256 of each file of sentences."""
    names = [f"{part}.{language}.gz" for part in ("train", "val", "test_2016_flickr") for language in ("de", "en")]
    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names}


def padded(rows: list[list[int]]) -> Tensor:
    """(B, longest)."""
    return nn.utils.rnn.pad_sequence([torch.tensor(row) for row in rows], batch_first=True, padding_value=PAD)


def replayed(member: Translator, found: list[dict[str, Any]], updates: int) -> list[list[float]]:
    """BLEU on test over a training by the schedule, stretched to so many updates, at ten moments and the end."""
    last, curve, state = found[-1]["end"], [], None
    ends = sorted({stretch["end"] * updates // last for stretch in found} | {k * updates // 10 for k in range(1, 11)})
    for begin, end in zip([0, *ends], ends, strict=False):
        now = next(stretch for stretch in found if begin * last < stretch["end"] * updates)
        member.load(state, now["values"], ("member", now["member"]))
        member.step(end - begin)
        state = member.save()
        curve.append([end, member.bleu("test_2016_flickr")])
        print(f"replay  updates {end}  BLEU {curve[-1][1]:.2f}", flush=True)
    return curve


def main() -> None:
    """See the module."""
    asking = options(__doc__ or "", updates=3000, every=300)
    asking.add_argument("--replay", type=int, default=0, help="updates of a replay of the schedule; 0: none")
    asked = asking.parse_args()
    member = Translator(Path(os.environ.get("BITSPIKE_DATA", ".")) / "multi30k", asked.seed)
    result = evolved(member, SPACE, asked)
    result |= {"test": member.bleu("test_2016_flickr"), "data": digests(member.folder)}
    result |= {"environment": machine("sacrebleu", "sentencepiece")}
    if asked.replay:
        result |= {"replay": replayed(member, result["schedule"], asked.replay)}
    conclude(asked.out, result)


if __name__ == "__main__":
    command(main)
