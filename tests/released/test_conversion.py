"""Conversion: nothing of a file is lost or read twice, and what is no such file is refused."""

import hashlib
import os
import random
import re
import shutil

import pytest
import torch
from official import files
from official.sizes import SMALL
from safetensors.torch import load_file
from support.official_files import save_official, write_training
from support.official_names import official_state

from vqlearn import CheckpointError
from vqlearn.checkpoints import load_vqvae
from vqlearn.released import convert, read_training_file
from vqlearn.released.conversion import books, used_codes
from vqlearn.released.conversion.plan import Asked, plan_of

ALL = [*SMALL]
TOKENIZERS = {
    "coco_pretrained": False,
    "ithq_learnable": False,
    "imagenet_pretrained": False,
    "ffhq": True,
}
EDITS = 500 if os.environ.get("VQLEARN_OFFICIAL_EDITS") == "1" else 35


def plan_for(official):
    return plan_of("file", read_training_file(official.file), Asked(**official.options))


def folder_of(converted):
    return converted.official.file.parent / "out"


def same_weights(folder, other):
    names = sorted(path.relative_to(folder) for path in folder.rglob("*.safetensors"))
    assert names == sorted(path.relative_to(other) for path in other.rglob("*.safetensors"))
    return all((folder / name).read_bytes() == (other / name).read_bytes() for name in names)


# What becomes of each weight --------------------------------------------------------


@pytest.mark.parametrize("name", ALL)
def test_the_books_balance(name, converted):
    official = converted(name).official
    model, ema = official.content["model"], official.content["ema"]
    plan = plan_for(official)
    there = [f"model.{key}" for key in model] + [f"ema.{key}" for key in ema]
    assert sorted([*plan.books.converted, *plan.books.dropped]) == sorted(there)
    averaged = [key for key, why in plan.books.dropped.items() if why == books.AVERAGED]
    assert all(key.removeprefix("model.transformer.") in ema for key in averaged)
    assert not any(key.startswith("model.transformer.") for key in plan.books.converted)
    sources = [source for part in plan.parts for source in part.weights.values()]
    assert sum(plan.books.converted.values()) == len(sources)
    assert all(plan.books.dropped.values())


@pytest.mark.parametrize("name", ALL)
def test_a_round_trip_through_the_official_names_is_the_identity(name, converted, tmp_path):
    one = converted(name)
    plan = plan_for(one.official)
    state = official_state(folder_of(one), plan)
    again = write_training(tmp_path / "again.pth", state, None)
    convert([again], tmp_path / "out", **one.official.options)
    assert same_weights(folder_of(one), tmp_path / "out")


def test_without_an_average_the_raw_weights_are_converted(converted, tmp_path):
    one = converted("coco_learnable").official
    model, options = one.content["model"], one.options
    file = write_training(tmp_path / "raw.pth", model, None)
    convert([file], tmp_path / "raw", **options)
    head = load_file(tmp_path / "raw/transformer/diffusion_pytorch_model.safetensors")["out.weight"]
    assert torch.equal(head, model["transformer.transformer.to_logits.1.weight"])
    averaged = one.content["ema"]["transformer.to_logits.1.weight"]
    assert not torch.equal(head, averaged)


def test_parts_of_a_file_are_converted_as_the_whole(converted, tmp_path):
    one = converted("ithq_learnable")
    whole = save_official(tmp_path, "ithq_learnable")
    convert(files.split(whole.file, 3), tmp_path / "out", **whole.options)
    assert same_weights(folder_of(one), tmp_path / "out")


def test_all_weights_are_written_in_single_precision(converted):
    for name in ALL:
        for file in folder_of(converted(name)).rglob("*.safetensors"):
            kinds = {weight.dtype for weight in load_file(file).values()}
            assert kinds <= {torch.float32, torch.int64}


# A tokenizer alone -------------------------------------------------------------------


@pytest.mark.parametrize("name", TOKENIZERS)
@torch.no_grad()
def test_a_tokenizer_alone_is_the_one_inside_its_model(name, tmp_path):
    from official import codec
    from official.inputs import given

    sizes, asked = SMALL[name], given(SMALL[name])
    state = files.save_codec(tmp_path / "vq.pth", sizes.codec, net2net=TOKENIZERS[name])
    convert([tmp_path / "vq.pth"], tmp_path / "out")
    vqvae = load_vqvae(tmp_path / "out")
    assert vqvae.full_codes is None
    tokens = vqvae.encode(asked.images)
    assert torch.equal(tokens, codec.encode(state, asked.images))
    assert len(tokens.unique()) > 3
    features = vqvae.encode_features(asked.images).permute(0, 3, 1, 2)
    torch.testing.assert_close(features, codec.features(state, asked.images), atol=1e-5, rtol=0)
    images = codec.decode(state, asked.codes)
    torch.testing.assert_close(vqvae.decode(asked.codes), images, atol=1e-5, rtol=0)
    file = read_training_file(tmp_path / "vq.pth")
    found = plan_of("file", file, Asked()).books
    assert sorted([*found.converted, *found.dropped]) == sorted(f"model.{key}" for key in file.raw)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        *("README.md", "SHA256SUMS", "vqvae")
    ]
    assert "alone" in (tmp_path / "out" / "README.md").read_text()


BESIDES = {
    "ffhq": (
        *("first_stage_model.loss.discriminator.main.3.num_batches_tracked",),
        *("first_stage_model.loss.perceptual_loss.lin0.model.1.weight",),
        *("first_stage_model.colorize", "cond_stage_model.encoder.conv_in.weight"),
        *("permuter.forward_shuffle_idx", "permuter.backward_shuffle_idx"),
        *("transformer.blocks.1.attn.mask", "transformer.ln_f.bias", "transformer.pos_emb"),
    ),
    "ithq_learnable": ("loss.discriminator.main.3.num_batches_tracked", "loss.logvar", "colorize"),
}
"""What the official classes may hold besides a tokenizer: whole numbers are among it."""


def tokenizer_state(name):
    state = files.codec_state(SMALL[name].codec, 0)
    return files.with_prefix("first_stage_model", state) if TOKENIZERS[name] else state


@pytest.mark.parametrize("name", BESIDES)
def test_a_tokenizer_is_found_among_all_that_may_be_there(name, tmp_path):
    state = tokenizer_state(name)
    alone = write_training(tmp_path / "alone.pth", state, None)
    convert([alone], tmp_path / "alone")
    besides = {key: torch.arange(3) for key in BESIDES[name]}
    is_lightning = TOKENIZERS[name]  # which keeps no average
    averages = {} if is_lightning else {key: w + 1 for key, w in (state | besides).items()}
    file = write_training(tmp_path / "more.pth", state | besides, averages or None)
    convert([file], tmp_path / "more")
    assert same_weights(tmp_path / "alone", tmp_path / "more")
    found = plan_of("file", read_training_file(file), Asked()).books
    there = [f"model.{key}" for key in state | besides] + [f"ema.{key}" for key in averages]
    assert sorted([*found.converted, *found.dropped]) == sorted(there)
    assert {f"model.{key}" for key in besides} <= set(found.dropped)
    assert all(found.dropped.values())


@pytest.mark.parametrize(
    "key", ["first_stage_model.lossy.bias", "loss", "cond_stage.bias", "transformer.head.bias"]
)
def test_what_no_official_class_holds_is_refused(key, tmp_path):
    file = write_training(tmp_path / "vq.pth", tokenizer_state("ffhq") | {key: torch.ones(1)}, None)
    with pytest.raises(CheckpointError, match=f"1 are unknown .'{re.escape(key)}'"):
        convert([file], tmp_path / "out")


def test_used_codes_are_refused_for_a_tokenizer_alone(tmp_path):
    files.save_codec(tmp_path / "vq.pth", SMALL["ffhq"].codec)
    with pytest.raises(CheckpointError, match=r"used\.pt; allowed: none, vq\.pth is a tokenizer"):
        convert([tmp_path / "vq.pth"], tmp_path / "out", used_codes=tmp_path / "used.pt")


# What is refused -----------------------------------------------------------------------


def converted_keys(content, plan):
    """(section, key) of every weight whose numbers are in the folder, or must be like those."""
    names = [*plan.books.converted] + [
        key for key, why in plan.books.dropped.items() if why == books.AVERAGED
    ]
    split = [name.partition(".")[::2] for name in names]
    return sorted((section, key) for section, key in split if key in content[section])


def edited(content, section, key, kind, draw):
    """The content with one weight that is wrong, and what a message must name."""
    entries = dict(content[section])
    value = entries[key]
    if kind == "renamed":
        at = draw.randrange(len(key))
        new = key[:at] + draw.choice("xyz#") + key[at + 1 :]
        entries = {new if name == key else name: each for name, each in entries.items()}
    elif kind == "missing":
        del entries[key]
    elif kind == "extra":
        key = f"{key}{draw.choice(['_', '.x', '2'])}"
        entries[key] = value
    elif kind == "transposed":
        entries[key] = value.transpose(0, 1).contiguous()
    else:
        entries[key] = value.clone()
        entries[key].view(-1)[draw.randrange(value.numel())] = draw.choice([torch.nan, torch.inf])
    return {**content, section: entries}, key


def can_be(kind, value, is_read):
    """A square matrix that is transposed has a shape that fits: nobody can tell."""
    if kind == "transposed":
        return value.ndim > 1 and value.shape[0] != value.shape[1]
    return is_read or kind != "not finite"


KINDS = ["renamed", "missing", "extra", "transposed", "not finite"]


@pytest.mark.parametrize("name", ALL)
def test_edited_files_are_refused_by_the_name_of_the_weight(name, converted, tmp_path):
    official = converted(name).official
    content = {part: dict(official.content[part]) for part in ("model", "ema")}
    plan = plan_for(official)
    keys = converted_keys(content, plan)
    for number in range(EDITS // len(ALL) + 1):
        draw, kind = random.Random(f"{name} {number}"), KINDS[number % len(KINDS)]
        section, key = draw.choice(
            [
                (section, key)
                for section, key in keys
                if can_be(kind, content[section][key], f"{section}.{key}" in plan.books.converted)
            ]
        )
        wrong, named = edited(content, section, key, kind, draw)
        file = write_training(tmp_path / "edited.pth", wrong["model"], wrong["ema"])
        with pytest.raises(CheckpointError) as refused:
            convert([file], tmp_path / "out", **official.options)
        assert named in str(refused.value), (section, key, kind, str(refused.value))
        assert "edited.pth" in str(refused.value)
        assert not (tmp_path / "out").exists()


def damaged(content, draw):
    """The bytes of a file, cut off somewhere, or with one bit that is wrong."""
    at = draw.randrange(len(content))
    if draw.random() < 0.3:
        return content[:at]
    return content[:at] + bytes([content[at] ^ 1 << draw.randrange(8)]) + content[at + 1 :]


def message_of(file, out, options):
    """What a conversion is refused with; None: it is not."""
    try:
        convert([file], out, **options)
    except CheckpointError as error:
        return str(error)
    return None


def test_damaged_files_are_refused_or_converted_as_before(converted, tmp_path):
    """Of a wrong bit in what is not read, such as the optimizer's state, nothing is seen."""
    one = converted("coco_learnable")
    whole, found = one.official.file.read_bytes(), []
    file, out = tmp_path / "damaged.pth", tmp_path / "out"
    for number in range(EDITS):
        file.write_bytes(damaged(whole, random.Random(number)))
        message = message_of(file, out, one.official.options)
        if message is None:
            assert same_weights(folder_of(one), out)
            shutil.rmtree(out)
        else:
            assert "damaged.pth" in message
            assert not out.exists()
        found.append("converted" if message is None else "refused")
    assert set(found) == {"refused", "converted"}


@pytest.mark.parametrize(
    "key",
    [
        "content_codec.enc.encoder.down.1.block.0.norm2.bias",
        "content_codec.dec.decoder.up.0.block.1.conv1.weight",
        "transformer.transformer.blocks.1.attn2.key.weight",
        "transformer.transformer.blocks.1.ln1_1.emb.weight",
        "transformer.transformer.to_logits.1.weight",
        "transformer.condition_emb.transformer.resblocks.1.attn.in_proj_weight",
        "transformer.empty_text_embed",
    ],
)
def test_another_shape_is_refused(key, converted, tmp_path):
    one = converted("coco_learnable").official
    model = dict(one.content["model"])
    model[key] = torch.cat([model[key], model[key][:1]])
    file = write_training(tmp_path / "edited.pth", model, one.content["ema"])
    rows = len(model[key])
    message = rf"'{key}' has the shape \({rows}.* ask for \({rows - 1}"
    with pytest.raises(CheckpointError, match=message):
        convert([file], tmp_path / "out", **one.options)


CONTENT = "transformer.transformer.content_emb."
BLOCK = "transformer.transformer.blocks.0."
SIZES = [
    ("imagenet_pretrained", CONTENT + "height_emb.weight"),
    ("imagenet_learnable", CONTENT + "width_emb.weight"),
    ("coco_learnable", CONTENT + "height_emb.weight"),
    ("imagenet_learnable", BLOCK + "ln2.emb.weight"),
    ("ffhq", "transformer.transformer.to_logits.0.bias"),
    ("ffhq", "transformer.transformer.to_logits.1.bias"),
    ("ffhq", "content_codec.enc.encoder.down.1.block.0.conv1.bias"),
    ("ffhq", "content_codec.enc.encoder.conv_out.bias"),
    ("ffhq", "content_codec.enc.quant_conv.bias"),
    ("ithq_learnable", "content_codec.enc.quantize.embedding"),
    ("coco_learnable", "content_codec.enc.quantize.embed.weight"),
    ("coco_learnable", "content_codec.enc.quantize.proj.bias"),
    ("coco_learnable", "transformer.condition_emb.ln_final.bias"),
]
"""Weights whose shapes say how large a network is."""


@pytest.mark.parametrize("count", [0, 1, 3, -1])
@pytest.mark.parametrize(("name", "key"), SIZES)
def test_a_size_is_refused_unless_another_weight_says_it_too(name, key, count, converted, tmp_path):
    """Of the raw weight and its average: nothing else is there to compare with."""
    official = converted(name).official
    found = {part: dict(official.content[part]) for part in ("model", "ema")}
    for part, there in (("model", key), ("ema", key.removeprefix("transformer."))):
        if there in found[part]:
            value = found[part][there]
            found[part][there] = torch.cat([value, value[-1:]]) if count < 0 else value[:count]
    file = write_training(tmp_path / "edited.pth", **found)
    with pytest.raises(CheckpointError, match=f"edited.pth: .*'{re.escape(key)}'"):
        convert([file], tmp_path / "out", **official.options)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("change", [lambda w: w[:-1], lambda w: torch.cat([w, w[:1]])])
def test_the_codes_of_a_tokenizer_alone_are_as_many_as_their_sums(change, tmp_path):
    state = files.codec_state(SMALL["ithq_learnable"].codec, 0)
    state["quantize.embedding"] = change(state["quantize.embedding"])
    file = write_training(tmp_path / "edited.pth", state, None)
    with pytest.raises(
        CheckpointError, match=r"'quantize.embedding' has the shape .* ask for \(11"
    ):
        convert([file], tmp_path / "out")


@pytest.mark.parametrize(
    ("key", "change", "message"),
    [
        ("content_codec.dec.quantize.embed.weight", lambda w: w + 1, "is not the same as"),
        ("content_codec.dec.quantize.proj.bias", lambda w: w * torch.nan, "is not the same as"),
        ("transformer.log_cumprod_at", lambda w: w * 1.01, "is another schedule; allowed"),
        ("transformer.log_cumprod_ct", lambda w: w[:-1], "is another schedule; allowed"),
        ("transformer.log_cumprod_bt", lambda w: w * torch.nan, "is another schedule; allowed"),
        ("transformer.transformer.to_logits.1.bias", lambda w: w.long(), "is torch.int64; allowed"),
    ],
)
def test_what_is_dropped_must_agree_with_what_is_converted(
    key, change, message, converted, tmp_path
):
    official = converted("coco_learnable").official
    wrong = {"model": dict(official.content["model"]), "ema": dict(official.content["ema"])}
    for section, name in (("model", key), ("ema", key.removeprefix("transformer."))):
        if name in wrong[section]:
            wrong[section][name] = change(wrong[section][name])
    file = write_training(tmp_path / "edited.pth", wrong["model"], wrong["ema"])
    with pytest.raises(CheckpointError, match=message) as refused:
        convert([file], tmp_path / "out", **official.options)
    assert key.rpartition("transformer.")[2] in str(refused.value)
    assert not (tmp_path / "out").exists()


def test_what_is_dropped_may_be_missing(converted, tmp_path):
    """The schedule is known, and the quantizer is there twice."""
    one = converted("coco_learnable").official
    gone = [*plan_for(one).books.dropped]
    averaged = [key for key, why in plan_for(one).books.dropped.items() if why == books.AVERAGED]
    content = {
        part: {
            k: v
            for k, v in one.content[part].items()
            if f"{part}.{k}" not in gone or f"{part}.{k}" in averaged
        }
        for part in ("model", "ema")
    }
    assert len(content["model"]) < len(one.content["model"])
    file = write_training(tmp_path / "less.pth", content["model"], content["ema"])
    convert([file], tmp_path / "out", **one.options)
    assert same_weights(folder_of(converted("coco_learnable")), tmp_path / "out")


@pytest.mark.parametrize("several", [True, False])
def test_paths_may_be_text(several, converted, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    one = converted("coco_learnable")
    shutil.copy(one.official.file, tmp_path / "a.pth")
    options = {name: str(path) for name, path in one.official.options.items()}
    convert(["~/a.pth"] if several else "~/a.pth", "~/out", **options)
    assert same_weights(folder_of(one), tmp_path / "out")


@pytest.mark.parametrize("name", ["files", "out", "used_codes", "tokenizer"])
def test_what_is_no_path_is_named(name, tmp_path):
    arguments = {"files": "a.pth", "out": tmp_path / "out", name: 3}
    with pytest.raises(TypeError, match=f"^{name} is 3; allowed: a path"):
        convert(**arguments)


def test_other_files_are_refused(tmp_path):
    file = write_training(tmp_path / "other.pth", {"layer.weight": torch.ones(2)}, None)
    with pytest.raises(CheckpointError, match=r"other\.pth is no model of VQ-Diffusion"):
        convert([file], tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("among", ["nothing", "a checkpoint"])
def test_a_foreign_readme_is_not_replaced(among, tmp_path):
    files.save_codec(tmp_path / "vq.pth", SMALL["ffhq"].codec)
    (tmp_path / "out").mkdir()
    if among == "a checkpoint":
        convert([tmp_path / "vq.pth"], tmp_path / "out")
    (tmp_path / "out" / "README.md").write_text("my notes")
    with pytest.raises(CheckpointError, match=r"README\.md that is none of ours; allowed"):
        convert([tmp_path / "vq.pth"], tmp_path / "out")
    assert (tmp_path / "out" / "README.md").read_text() == "my notes"


def test_the_card_of_a_conversion_that_was_killed_is_replaced(tmp_path):
    """A kill may leave the card and what was begun, but not yet the digests."""
    files.save_codec(tmp_path / "vq.pth", SMALL["ffhq"].codec)
    convert([tmp_path / "vq.pth"], tmp_path / "out")
    (tmp_path / "out" / "SHA256SUMS").unlink()
    (tmp_path / "out" / ".part-new").mkdir()
    convert([tmp_path / "vq.pth"], tmp_path / "out")
    assert (tmp_path / "out" / "SHA256SUMS").exists()


def test_what_a_linked_part_leads_to_stays(tmp_path):
    files.save_codec(tmp_path / "vq.pth", SMALL["ffhq"].codec)
    convert([tmp_path / "vq.pth"], tmp_path / "first")
    kept = {path.name: path.read_bytes() for path in (tmp_path / "first" / "vqvae").iterdir()}
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "vqvae").symlink_to(tmp_path / "first" / "vqvae")
    files.save_codec(tmp_path / "other.pth", SMALL["ffhq"].codec, seed=1)
    convert([tmp_path / "other.pth"], tmp_path / "out")
    assert {p.name: p.read_bytes() for p in (tmp_path / "first" / "vqvae").iterdir()} == kept
    assert not (tmp_path / "out" / "vqvae").is_symlink()
    assert load_vqvae(tmp_path / "out").config == load_vqvae(tmp_path / "first").config


def test_an_older_checkpoint_stays_if_the_conversion_fails(converted, tmp_path):
    one = converted("coco_learnable").official
    out = tmp_path / "out"
    convert([one.file], out, **one.options)
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    wrong = dict(one.content["model"])
    wrong["content_codec.dec.post_quant_conv.bias"] = torch.full((32,), torch.nan)
    file = write_training(tmp_path / "wrong.pth", wrong, one.content["ema"])
    with pytest.raises(CheckpointError, match=r"post_quant_conv\.bias' holds NaN"):
        convert([file], out, **one.options)
    assert before == {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    other = converted("ithq_learnable").official
    convert([other.file], out, **other.options)
    assert same_weights(folder_of(converted("ithq_learnable")), out)
    files.save_codec(tmp_path / "vq.pth", SMALL["ffhq"].codec)
    convert([tmp_path / "vq.pth"], out)
    assert not (out / "model_index.json").exists()
    assert [path.name for path in out.rglob("*.safetensors")] == [
        "diffusion_pytorch_model.safetensors"
    ]


# Which codes are used ---------------------------------------------------------------------


def test_without_the_list_of_used_codes_it_is_said_where_it_is(converted, tmp_path):
    official = converted("coco_learnable").official
    options = {"tokenizer": official.options["tokenizer"]}
    with pytest.raises(CheckpointError, match=r"11 of 20 codes.*--used-codes FILE, .*statistics/"):
        convert([official.file], tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_the_list_is_refused_where_all_codes_are_used(converted, tmp_path):
    official = converted("ithq_learnable").official
    options = {**official.options, "used_codes": tmp_path / "used.pt"}
    with pytest.raises(CheckpointError, match=r"used\.pt; allowed: none, .*\.pth uses all"):
        convert([official.file], tmp_path / "out", **options)


TABLE = [0, 0, 1, 0, 2, 0]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (torch.tensor(TABLE), None),
        (torch.tensor(TABLE).int(), r"holds \(6,\) numbers, torch.int32; allowed: .* 6 codes"),
        (torch.tensor(TABLE[1:]), r"holds \(5,\) numbers, torch.int64; allowed"),
        (torch.tensor([1, 0, 0, 0, 2, 0]), "has other tokens; allowed: 0 for code 0"),
        (torch.tensor([0, 0, 2, 0, 1, 0]), "has other tokens; allowed"),
        (torch.tensor([0, 0, 1, 1, 2, 0]), "has other tokens; allowed"),
        (torch.tensor([0, 0, 1, 0, 3, 0]), "has other tokens; allowed"),
        (torch.tensor([0, 0, 1, 0, 0, 0]), "has other tokens; allowed"),
        (torch.tensor([0, 0, 1, -1, 2, 0]), "has other tokens; allowed"),
        ({"a": torch.tensor(TABLE)}, "what it holds' is a dict; allowed"),
        (torch.zeros(200_000, dtype=torch.int64), "bytes; allowed: one tensor, up to 1048576"),
    ],
)
@pytest.mark.parametrize("new", [True, False])
def test_the_file_of_used_codes_is_read_or_refused(table, message, new, tmp_path):
    """Older files are no archives."""
    file = tmp_path / "used.pt"
    torch.save(table, file, _use_new_zipfile_serialization=new)
    if message is None:
        assert used_codes.used_codes_of("file", file, 3, 6).tolist() == [0, 2, 4]
        return
    with pytest.raises(CheckpointError, match=message):
        used_codes.used_codes_of("file", file, 3, 6)


@pytest.mark.parametrize("count", [2887, 974])
def test_a_list_as_long_as_a_released_one_must_be_that_one(count, tmp_path, monkeypatch):
    table = torch.zeros(8192, dtype=torch.int64)
    table[1:count] = torch.arange(1, count)
    torch.save(table, tmp_path / "used.pt")
    digest = hashlib.sha256(table.numpy().tobytes()).hexdigest()
    with pytest.raises(CheckpointError, match=f"not the released list: .*{digest}; allowed: "):
        used_codes.used_codes_of("file", tmp_path / "used.pt", count, 8192)
    monkeypatch.setitem(used_codes.DIGESTS, count, digest)
    found = used_codes.used_codes_of("file", tmp_path / "used.pt", count, 8192)
    assert torch.equal(found, torch.arange(count))


def test_the_digests_of_the_released_lists():
    """Of the SHA-256 the beginnings that the issue and the facts name."""
    assert {n: digest[:8] for n, digest in used_codes.DIGESTS.items()} == {
        2887: "5b024c7a",
        974: "a3242cde",
    }
