"""Words of any name and of several files, through the commands: learned, gone on with, drawn, looked at."""

import json
import shutil
import unicodedata

import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import load
import train_new
import train_new_v1
import txt2img
import txt2img_v2
from check import check_learned, check_placeholder
from evaluation import evaluate
from ldm.embedding_files import read_embeddings
from ldm.errors import UserError
from ldm.modules.embedding_manager import EmbeddingManager
from ldm.parameters import picture_parameters
from ldm.placeholders import call_words, name_of_file, same_name
from tests.conftest import EMBEDDING, EMOJI, ROOT, assert_one_line_error, close, pixels, run_main
from tests.runs import EXACT, flags, only_run

WORDS = "model.params.personalization_config.params"
ONE = ("--ddim_steps", 1, "--n_samples", 1)
VECTORS = read_embeddings(EMBEDDING)["*"]


@pytest.fixture
def files(tmp_path):
    """Files of words as other programs and this one write them."""
    torch.save({"<cat-toy>": VECTORS[0]}, tmp_path / "learned_embeds-steps-500.bin")
    safetensors.torch.save_file({"emb_params": VECTORS * 1.01}, tmp_path / "my toy.safetensors")
    torch.save({"string_to_token": {"*": torch.tensor(265)}, "string_to_param": {"*": VECTORS * 1.02}},
               tmp_path / "doll.pt")
    run = tmp_path / "flamingo2026-11-24T23-26-29_pink/checkpoints"
    run.mkdir(parents=True)
    shutil.copy(EMBEDDING, run / "embeddings.pt")
    return {"diffusers": tmp_path / "learned_embeds-steps-500.bin", "nameless": tmp_path / "my toy.safetensors",
            "star": tmp_path / "doll.pt", "run": run / "embeddings.pt"}


# Names of files' words -----------------------------------------------------------------------------------------------

@pytest.mark.parametrize("file, name", [
    ("a/cat.pt", "<cat>"), ("a/my toy.safetensors", "<my-toy>"), ("logs/example_pear/checkpoints/embeddings.pt",
                                                                 "<example_pear>"),
    ("logs/pear2026-11-24T23-26-29_green/checkpoints/embeddings_gs-300.pt", "<green>"),
    ("toy/learned_embeds.bin", "<toy>"), ("toy/learned_embeds-steps-500.safetensors", "<toy>"),
    ("a/인형.pt", "<인형>"), ("a/<b>.pt", "<b>"), ("a/\n.pt", "<word>"), ("a/embeddings_best.pt", "<a>")])
def test_a_word_without_a_name_is_called_by_its_file(file, name):
    assert name_of_file(file) == name


@pytest.mark.parametrize("found, names, called", [
    ([("a.pt", "*")], [], ["*"]), ([("a.pt", "<x>"), ("b.pt", "<y>")], [], ["<x>", "<y>"]),
    ([("a.pt", None)], [], ["<a>"]), ([("a.pt", None)], ["<z>"], ["<z>"]),
    ([("a.pt", "*"), ("b.pt", "*"), ("c.pt", "*")], [], ["*", "<b>", "<c>"]),
    ([("a.pt", "*"), ("b.pt", "*"), ("c.pt", "*")], ["<z>"], ["*", "<z>", "<c>"]),
    ([("a.pt", "*"), ("b.pt", "*")], ["<x>", "<z>"], ["<x>", "<z>"]), ([("a.pt", "*")], ["<z>"], ["<z>"]),
    ([("a.pt", "<x>")], ["<z>"], ["<z>"]), ([("a.pt", "<x>"), ("b.pt", "*")], ["<z>"], ["<x>", "<z>"]),
    ([("a.pt", "<x>"), ("b.pt", "<X>")], [], ["<x>", "<b>"]), ([("a.pt", "<b>"), ("b.pt", None)], [], ["<b>", "<b-2>"]),
    ([("a.pt", "<x>"), ("b.pt", "<y>")], ["<y>", "<x>"], ["<y>", "<x>"]),
    ([("x/b.pt", None), ("y/b.pt", None)], [], ["<b>", "<b-2>"])])
def test_what_words_are_called(found, names, called):
    assert call_words(found, names) == called


@pytest.mark.parametrize("names, match", [(["<p>"], "1 name for 2"), (["<p>", "<q>", "<r>"], "3 names for 2"),
                                          (["<p>", "<P>"], "another word has that name")])
def test_names_that_do_not_fit_are_refused(names, match):
    with pytest.raises(UserError, match=match):
        call_words([("a.pt", "<x>"), ("b.pt", "<y>")], names)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.sampled_from(["a.pt", "b.pt", "x/a.bin"]),
                          st.sampled_from([None, "*", "<a>", "<A>", "b"])), min_size=1, max_size=6))
def test_every_word_has_a_name_of_its_own(found):
    called = call_words(found)
    assert len(set(map(same_name, called))) == len(called) == len(found)
    assert all(own == name for (_, own), name in zip(found, called, strict=True) if found.count((_, own)) == 1
               and [o for _, o in found].count(own) == 1 and own in ("*", "b"))


# Drawing with several ------------------------------------------------------------------------------------------------

def test_which_sign_is_which_word_is_said(files, tmp_path):
    result = run_main(txt2img.main, "--prompt", "a <cat-toy> and a <my-toy>, a * and <Pink>", "--embedding_path",
                      *files.values(), *ONE, "--outdir", tmp_path / "out")
    assert result.status == 0 and "warning" not in result.err, result.err
    lines = result.err.splitlines()
    assert f"<cat-toy>: the word of {files['diffusers']}" in lines and f"*: the word of {files['star']}" in lines
    assert f"<my-toy>: the word of {files['nameless']}, which has no name for it" in lines
    assert f"<pink>: the word of {files['run']}, which calls it *, as {files['star']} does" in lines
    (file,) = (tmp_path / "out/samples").iterdir()
    made = picture_parameters(file).settings
    names = ("Embedding", "Embedding 2", "Embedding 3", "Embedding 4")
    assert [made[n] for n in names] == list(map(str, files.values()))
    assert len({made[f"{n} hash"] for n in names}) == 4


def test_the_names_given_are_in_the_picture(files, tmp_path):
    result = run_main(txt2img.main, "--prompt", "<a>'s and 인형", "--embedding_path", files["star"], files["run"],
                      "--placeholder_string", "<a>", "인형", *ONE, "--outdir", tmp_path)
    assert result.status == 0 and "warning" not in result.err, result.err
    (file,) = (tmp_path / "samples").iterdir()
    assert json.loads(picture_parameters(file).settings["Placeholder strings"]) == ["<a>", "인형"]


def test_the_only_word_is_star_too(files, tmp_path):
    drawn = []
    for n, (file, prompt) in enumerate([(EMBEDDING, "a * on a blue background"),
                                        (files["diffusers"], "a * on a blue background"),
                                        (files["diffusers"], "a <Cat-Toy> on a blue background")]):
        result = run_main(txt2img.main, "--prompt", prompt, "--embedding_path", file, "--ddim_steps", 2, "--n_samples",
                          1, "--outdir", tmp_path / str(n))
        assert result.status == 0 and "warning" not in result.err, result.err
        drawn += [pixels(p) for p in (tmp_path / str(n) / "samples").iterdir()]
    assert f"<cat-toy> or *: the word of {files['diffusers']}" in result.err.splitlines()
    assert torch.equal(drawn[0], drawn[1]) and torch.equal(drawn[0], drawn[2])


def test_a_star_that_is_no_word_is_named(files, tmp_path):
    result = run_main(txt2img.main, "--prompt", "a <cat-toy> and a *", "--embedding_path", files["diffusers"],
                      files["nameless"], *ONE, "--outdir", tmp_path)
    assert "warning: * in 'a <cat-toy> and a *' is none of the learned words, which are written <cat-toy> <my-toy>" in (
        result.err)


@pytest.mark.parametrize("main, arguments, words", [
    (txt2img.main, ["--placeholder_string", "<a>"], ["--placeholder_string", "--embedding_path"]),
    (txt2img.main, ["--embedding_path", EMBEDDING, "none.pt"], ["none.pt"]),
    (txt2img.main, ["--embedding_path", EMBEDDING, "--placeholder_string", "[PAD]"], ["[PAD]", "own"]),
    (txt2img.main, ["--embedding_path", EMBEDDING, "--placeholder_string", " "], ["--placeholder_string", "empty"]),
    (txt2img.main, ["--embedding_path", EMBEDDING, "--placeholder_string", "<a>", "<b>"], ["2 names for 1"]),
    (train_new.main, flags(None, placeholder_string="[CLS]"), ["[CLS]", "own"])])
def test_bad_names_are_one_line(tmp_path, main, arguments, words):
    more = ("--outdir", tmp_path / "out") if main is txt2img.main else ("--logdir", tmp_path / "out")
    assert_one_line_error(run_main(main, *arguments, *more), *words)
    assert not (tmp_path / "out").exists()


def test_in_korean_a_particle_may_follow_any_name(v2_model, emoji_model):
    """What a name translates to is what the sign * does, bit for bit."""
    names = ("<cat-toy>", "S*", "내 인형", "🐈")
    star = EmbeddingManager(v2_model.cond_stage_model, ["*"])
    for name in names:
        manager = EmbeddingManager(v2_model.cond_stage_model, [name])
        manager.string_to_param_dict[name].data.copy_(star.string_to_param_dict["*"])
        for prompt in ("{} 사진", "파란 배경 위의 {}", "{}와 빨간 사과", "초록색 배경에 {}가 있다"):
            assert torch.equal(v2_model.cond_stage_model.encode(prompt.replace("{}", name), manager),
                               v2_model.cond_stage_model.encode(prompt.replace("{}", "*"), star)), (name, prompt)
    two = EmbeddingManager(v2_model.cond_stage_model, ["<b>", "<a>"])
    base = EmbeddingManager(emoji_model.cond_stage_model, ["<b>", "<a>"])
    base.load_state_dict(two.state_dict())
    assert torch.equal(v2_model.cond_stage_model.encode("<a>와 <b>", two),
                       emoji_model.cond_stage_model.encode("a <a> and a <b>", base)), "ids that look like copies"
    decomposed = unicodedata.normalize("NFD", "내 인형의 사진")
    assert EmbeddingManager(v2_model.cond_stage_model, ["내 인형"]).placeholders_in(decomposed) == ["내 인형"]


def test_v1_takes_one_adapter_and_words_beside_it(tmp_path, files):
    """The adapter turns the words that it was learned with and no others."""
    model = load.load_model_from_config(load.model_config(EMOJI, variant="v1"), EMOJI)
    manager = model.embedding_manager
    with torch.no_grad():
        for p in manager.post_bert.parameters():
            p += 0.1 * torch.randn_like(p)
    manager.save(tmp_path / "v1.pt")
    prompts = ["a photo of a *", "a photo of a <cat-toy>"]
    manager.load([files["diffusers"], tmp_path / "v1.pt"])
    assert manager.placeholder_strings == ["<cat-toy>", "*"]
    both = model.get_learned_conditioning(prompts)
    manager.load(tmp_path / "v1.pt")
    assert torch.equal(both[0], model.get_learned_conditioning(prompts)[0])
    base = load.load_model_from_config(load.model_config(EMOJI), EMOJI)
    base.embedding_manager.load(files["diffusers"])
    assert torch.equal(both[1], base.get_learned_conditioning(prompts)[1])
    assert not torch.equal(both[0], both[1])
    shutil.copy(tmp_path / "v1.pt", tmp_path / "other.pt")
    with pytest.raises(UserError, match=r"v1.pt and .*other.pt have an adapter each.*only one"):
        manager.load([tmp_path / "v1.pt", tmp_path / "other.pt"])
    with pytest.raises(UserError, match="txt2img_v1.py"):
        base.embedding_manager.load([files["diffusers"], tmp_path / "v1.pt"])


def test_the_checks_take_any_name(files, tmp_path):
    result = run_main(check_placeholder.main, files["diffusers"], "--prompt", "a <cat-toy>, and a *")
    assert result.status == 0 and "2 vectors go in" in result.out and "'thing' in place of <cat-toy>" in result.out
    assert result.out.count("<cat-toy>, vector 0") == 2
    result = run_main(check_placeholder.main, files["nameless"], "--prompt", "<my-toy>의 사진", "--variant", "v2")
    assert result.status == 0 and "copied from source position" in result.out, result.err
    result = run_main(check_learned.main, files["diffusers"], "--data_root", ROOT / "dataset/flamingo", "--prompt",
                      "a <cat-toy>", "--ddim_steps", 1, "--out", tmp_path / "sheet.png")
    assert result.status == 0 and (tmp_path / "sheet.png").is_file(), result.err


@pytest.mark.slow
def test_a_word_of_any_name_is_measured(files, tmp_path):
    result = run_main(evaluate.main, "--embedding_path", files["diffusers"], files["star"], "--data_root",
                      ROOT / "dataset/flamingo", "--n_samples", 1, "--ddim_steps", 1, "--out", tmp_path)
    assert result.status == 0, result.err
    prompts = json.loads((tmp_path / "report.json").read_text())["prompts"]
    assert all("<cat-toy>" in prompt for prompt in prompts)


# Learning ------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("name", ["*", "<cat-toy>", "내 인형"])
def test_a_word_of_several_vectors_twice_in_a_prompt(small_model, name):
    """Both places have all vectors, their gradient is the sum of both places', and every vector moves."""
    model, n = small_model, 3
    manager = EmbeddingManager(model.cond_stage_model, [name], ["dog"], num_vectors_per_token=n)
    model.embedding_manager, model.learning_rate = manager, 0.01
    (vectors,) = manager.embedding_parameters()
    with torch.no_grad():
        vectors.normal_()
    prompt = f"a {name} beside another {name}"
    layout = manager.layout(model.cond_stage_model.tokenize(prompt, manager.placeholder_ids()))
    assert layout.vector[0, :12].tolist() == [-1, -1, 0, 1, 2, -1, -1, 0, 1, 2, -1, -1]
    seen = []
    hook = model.cond_stage_model.transformer.attn_layers.register_forward_pre_hook(lambda _, x: seen.append(x[0]))
    features = model.get_learned_conditioning([prompt])
    hook.remove()
    positions = model.cond_stage_model.transformer.pos_emb.emb.weight
    for start in (2, 7):
        assert torch.equal(seen[0][0, start : start + n], vectors + positions[start : start + n])
    (at,) = torch.autograd.grad(features.square().sum(), seen[0], retain_graph=True)
    features.square().sum().backward()
    assert close(vectors.grad, at[0, 2 : 2 + n] + at[0, 7 : 7 + n])
    optimizer, before = model.configure_optimizers(), vectors.detach().clone()
    optimizer.step()
    assert ((vectors.detach() - before).abs() > 1e-4).all()


def test_words_that_a_batch_does_not_use_stay(small_model):
    """AdamW would shrink and push on what has a gradient of zeros."""
    model = small_model
    manager = EmbeddingManager(model.cond_stage_model, ["<a>", "<b>"], ["dog", "cat"])
    model.embedding_manager, model.learning_rate = manager, 0.01
    model.get_learned_conditioning(["a <a>"]).sum().backward()
    assert manager.string_to_param_dict["<a>"].grad is not None and manager.string_to_param_dict["<b>"].grad is None


def train(*arguments, main=train_new.main):
    result = run_main(main, *arguments)
    assert result.status == 0, result.err
    return result


@pytest.mark.slow
@pytest.mark.parametrize("name, base, main", [
    ("<cat-toy>", "finetune", train_new.main), ("내 인형", "finetune", train_new.main),
    ("a.b", "finetune", train_new.main), ("🐈", "finetune-v1", train_new_v1.main)])
def test_a_run_of_any_name_learns_what_star_learns_and_goes_on(tmp_path, name, base, main):
    """Bit for bit, whatever it is called; resumed too."""
    def learn(folder, called, steps, *more):
        train(*flags(tmp_path / folder, base=f"configs/emoji/{base}.yaml", placeholder_string=called), "-t", *EXACT,
              f"lightning.trainer.max_steps={steps}", *more, main=main)
        return only_run(tmp_path / folder)

    star, mine = learn("star", "*", 4), learn("mine", name, 2)
    result = train("-t", "--resume", mine, "lightning.trainer.max_steps=4", main=main)
    assert "going on at step 2" in result.err
    assert "warning" not in result.err.replace(f"warning: {name} has hardly learned", ""), result.err
    words = [read_embeddings(run / "checkpoints/embeddings.pt") for run in (star, mine)]
    assert list(words[1]) == [name] and torch.equal(words[0]["*"], words[1][name])
    assert_one_line_error(run_main(main, "-t", "--resume", mine, "--placeholder_string", "<dog>"),
                          f"learns {name!r}", "asks for '<dog>'")


@pytest.mark.slow
def test_several_words_in_one_run(tmp_path):
    """Each from its own init word; those that captions use are learned."""
    train(*flags(tmp_path, init_word=None), "-t", *EXACT, "lightning.trainer.max_steps=3",
          f"{WORDS}.placeholder_strings=['<bird>','S*']", f"{WORDS}.initializer_words=[bird,fruit]",
          "data.params.train.params.templates=['a photo of a {} and a S*']")
    words = read_embeddings(only_run(tmp_path) / "checkpoints/embeddings.pt")
    assert list(words) == ["<bird>", "S*"]
    model = load.load_model_from_config(load.model_config(EMOJI), EMOJI)
    table, ids = model.cond_stage_model.token_embeddings.weight, model.cond_stage_model.tknz_fn.ids
    for name, start in (("<bird>", "bird"), ("S*", "fruit")):
        moved = (words[name] - table[ids(start)]).norm()
        assert 0 < moved < 1, "from its own start, and moved"


@pytest.mark.slow
@pytest.mark.parametrize("kind, asked, name", [
    ("diffusers", None, "<cat-toy>"), ("diffusers", "<kitty>", "<kitty>"), ("nameless", None, "<my-toy>"),
    ("star", None, "*")])
def test_learning_goes_on_from_any_file(files, tmp_path, kind, asked, name):
    """From exactly its vector, under its name; a resumed run keeps the name."""
    vectors = next(iter(read_embeddings(files[kind]).values()))
    command = flags(tmp_path / "runs", embedding_manager_ckpt=files[kind], placeholder_string=asked)
    result = train(*command, "-t", *EXACT, "lightning.trainer.max_steps=1", "model.base_learning_rate=1e-9")
    assert f"starting from {name}: the word of {files[kind]}" in result.err
    assert "warning: --init_word bird has no part" in result.err
    run = only_run(tmp_path / "runs")
    assert close(read_embeddings(run / "checkpoints/embeddings.pt")[name], vectors, 1e-6)
    train("-t", "--resume", run, "lightning.trainer.max_steps=2")
    assert list(read_embeddings(run / "checkpoints/embeddings.pt")) == [name]
    (config,) = {load.load_config(c).data.params.train.params.placeholder_token for c in (run / "configs").glob(
        "*-project.yaml")}
    assert config == name


def test_the_start_is_the_files_vector_bit_for_bit(files):
    for file in files.values():
        model = load.load_model_from_config(load.model_config(EMOJI), EMOJI)
        model.embedding_manager.load(file)
        (vectors,) = model.embedding_manager.embedding_parameters()
        assert torch.equal(vectors.detach(), next(iter(read_embeddings(file).values())))


def test_captions_may_write_star_for_the_only_word(tmp_path):
    for picture in (ROOT / "dataset/flamingo").glob("*.png"):
        shutil.copy(picture, tmp_path)
        (tmp_path / picture.with_suffix(".txt").name).write_text("a * on grass")
    result = run_main(train_new.main, *flags(tmp_path / "runs", data_root=tmp_path, placeholder_string="<bird>"))
    assert result.status == 0 and "nothing was learned: everything is in order" in result.err, result.err
    assert_one_line_error(run_main(train_new.main, *flags(tmp_path / "runs", data_root=tmp_path),
                                   f"{WORDS}.placeholder_strings=['<bird>','<grass>']"), "does not name the word")


def test_a_file_of_several_words_asks_for_one(tmp_path):
    torch.save({"<a>": VECTORS[0], "<b>": VECTORS[0]}, tmp_path / "two.bin")
    command = flags(tmp_path / "runs", embedding_manager_ckpt=tmp_path / "two.bin")
    assert_one_line_error(run_main(train_new.main, *command), "two.bin", "<a> <b>", "--placeholder_string")
    result = run_main(train_new.main, *command, "--placeholder_string", "<b>")
    assert result.status == 0 and "<b>: the word of" in result.err, result.err
    assert_one_line_error(run_main(txt2img_v2.main, "--embedding_path", tmp_path / "two.bin", "--placeholder_string",
                                   "<x>", "--outdir", tmp_path / "out"), "1 name for 2")
