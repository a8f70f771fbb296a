"""Make pictures from prompts with learned words: python txt2img.py --embedding_path FILE --prompt TEXT"""

from __future__ import annotations

# PYTHON_ARGCOMPLETE_OK
import ldm  # noqa: F401  # first: from here on Ctrl-C is one line

# isort: split
import argparse
import hashlib
import json
import re
import unicodedata
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from omegaconf import OmegaConf
from PIL.PngImagePlugin import PngInfo

from ldm.cli import (
    CommandParser,
    count,
    guidance,
    picture_seed,
    pixels,
    print_json,
    run_command,
    share,
    strength,
    word,
)
from ldm.errors import UserError
from ldm.files import file_identity, next_number, output_folder
from ldm.parameters import CHUNK, picture_parameters, write_parameters
from ldm.processes import agree, processes
from ldm.progress import bar, counted, say
from ldm.prompts import find_foreign, parse_prompt, read_prompts
from ldm.redraw import changes, flags_of
from ldm.util import quoted, resolve_file, version
from load import add_model_flags, check_files, find_config, load_model, model_config

if TYPE_CHECKING:
    import torch

    from ldm.models.diffusion.ddpm import LatentDiffusion


def get_parser() -> CommandParser:
    """The flags of txt2img.py, which are those of its variants too."""
    parser = CommandParser(
        description="Make pictures from prompts, with learned words in them.",
        example='python %(prog)s --embedding_path logs/RUN/checkpoints/embeddings.pt --prompt "two * on a white '
                'background"')
    prompts = parser.add_argument_group("prompts", (
        "Words may have weights: (red:1.3) counts more, (red:0.7) less, (red) is (red:1.1), [red] the opposite; "
        r"brackets that are text are written \( \)."))
    texts = prompts.add_mutually_exclusive_group()
    texts.add_argument("--prompt", nargs="+", metavar="TEXT", default=["a photo of a *"],
                       help="one prompt or several")
    add = prompts.add_argument
    texts.add_argument("--from_file", metavar="FILE", help="a text file with a prompt in each line, or - for standard "
                       "input; empty lines and those that begin with # are left out")
    add("--negative_prompt", metavar="TEXT", default="", help="what pictures shall not show, for all "
        "prompts; learned words and weights may be in it")
    add("--like", metavar="PNG", help="draw a picture of this program again: what it says it was made with stands for "
        "flags that are not given")
    words = parser.add_argument_group("model and words")
    add_model_flags(words)
    words.add_argument("--strength", nargs="+", type=strength, metavar="SHARE", default=[], help="how much of "
                       "the words there is in them, from 0, what learning started from, over 1, the word, to 2; one "
                       "for all or one for each; less for a word that drowns the rest of the prompt; default: 1")
    words.add_argument("--init_word", nargs="+", type=word, metavar="WORD", default=[], help="with --strength: what "
                       "words started from whose files do not say it")
    _add_pictures(parser.add_argument_group("pictures"))
    _add_sampling(parser.add_argument_group("sampling"))
    parser.add_json()
    parser.set_defaults(was={})  # what the picture of --like was made with
    return parser


def _add_pictures(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--outdir", metavar="FOLDER", default="outputs/txt2img-samples", help="where pictures go")
    add("--n_iter", type=count, default=1, help="batches for each prompt")
    add("--n_samples", type=count, default=4, help="pictures in a batch")
    add("--batch_size", type=count, metavar="N", help="pictures drawn at once, of several prompts together: "
        "faster, and takes more memory; default: --n_samples, of one prompt")
    add("--skip_grid", action="store_true", help="write no grid of each prompt's pictures")
    add("--skip_save", action="store_true", help="write no single pictures")
    add("--index", action="store_true", help="write index.html too: all pictures in --outdir on one page, with what "
        "they were made with")
    add("--H", type=pixels, help="height in pixels; default: the model's own")
    add("--W", type=pixels, help="width in pixels; default: the model's own")
    add("--seed", type=picture_seed, default=42,
        help="seed of the first picture of each prompt; picture i has seed + i")


def _add_sampling(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--ddim_steps", type=count, help="sampling steps, from 1 to the model's number of timesteps; default: 50, or "
        "the model's own where no flag names a sampler")
    sampler = group.add_mutually_exclusive_group()
    for name, title in (("ddim", "DDIM"), ("plms", "PLMS"), ("dpm_solver", "DPM-Solver++ (2M)")):
        sampler.add_argument(f"--{name}", action="store_const", const=name, dest="sampler",
                             help=f"sample with {title}; default: DDIM, or the model's own")
    add("--ddim_eta", type=share, help="sample with DDIM, deterministic at 0, as noisy as DDPM at 1; default: 0")
    add("--scale", type=guidance, help="guidance scale: 1 is none, more follows the prompt more closely; default: the "
        "model's own, 5 unless its config says otherwise")
    add("--precision", choices=("full", "bf16", "fp16"), default="full", help="number format of the network")
    add("--compile", action="store_true", help="compile the network with torch.compile at the first step, which takes "
        "minutes: for many pictures on a GPU; needs a C++ compiler, or on a GPU Triton")


def check_options(opt: argparse.Namespace) -> None:
    """Raises UserError for flags that do not go together and for files that are not there."""
    if not opt.prompt:  # argparse takes -- away
        raise UserError("--prompt: no prompt in it; give some text, or '' for an empty one")
    if opt.ddim_eta and opt.sampler not in (None, "ddim"):
        raise UserError("--ddim_eta goes with DDIM only; leave it out or leave --plms and --dpm_solver out")
    if opt.strength and not opt.embedding_path:
        raise UserError("--strength is that of the words of --embedding_path, and that is missing")
    if opt.init_word and not opt.strength:
        raise UserError("--init_word says what --strength starts from, and that is missing")
    check_files(opt.config, opt.ckpt_path, opt.embedding_path)


def settle_sampler(opt: argparse.Namespace, model: LatentDiffusion) -> None:
    """Let the model say how to sample where no flag does. Any of them means DDIM in 50 steps, but for what it says
    itself."""
    if opt.sampler is None and opt.ddim_steps is None and opt.ddim_eta is None:
        opt.sampler, opt.ddim_steps = model.sampler, model.sampling_steps
    opt.sampler, opt.ddim_steps, opt.ddim_eta = opt.sampler or "ddim", opt.ddim_steps or 50, opt.ddim_eta or 0.0


def slug(text: str, letters: int = 60, size: int = 96) -> str:
    """A prompt as a part of a file name: letters, digits and dashes, cut after so many letters and bytes of UTF-8."""
    words = re.sub(r"[^\w]+", "-", unicodedata.normalize("NFKC", text.replace("*", "word"))).strip("-_").lower()
    return words[:letters].encode()[:size].decode(errors="ignore").rstrip("-") or "empty"


def picture_settings(opt: argparse.Namespace, shape: tuple[int, int, int], model: LatentDiffusion) -> dict[str, Any]:
    """All that a picture is made with, but for its prompt and its seed; files with a hash of their content."""
    f = model.first_stage_model.downsampling
    config = model_config(opt.ckpt_path, opt.config, opt.variant)
    settings = {
        "Steps": opt.ddim_steps, "Sampler": opt.sampler, "Eta": opt.ddim_eta, "CFG scale": opt.scale,
        "Seed": None, "Size": f"{shape[2] * f}x{shape[1] * f}", "Precision": opt.precision,
        "Batch size": opt.batch_size or opt.n_samples, "Variant": opt.variant or "base",
        "Config": find_config(opt.ckpt_path, opt.config), "Config hash": digest(OmegaConf.to_yaml(config).encode()),
        "Model": opt.ckpt_path, "Model hash": file_identity(opt.ckpt_path),
    }
    for n, path in enumerate(opt.embedding_path or [], 1):
        name = f"Embedding {n}" if n > 1 else "Embedding"
        settings |= {name: path, f"{name} hash": digest(Path(path).read_bytes())}
    if opt.placeholder_string:
        settings["Placeholder strings"] = json.dumps(opt.placeholder_string, ensure_ascii=False)
    if model.embedding_manager.strengths:
        settings["Strength"] = " ".join(f"{s:g}" for s in opt.strength)
        settings |= {"Initial words": json.dumps(opt.init_word, ensure_ascii=False)} if opt.init_word else {}
    if aligner := getattr(model.cond_stage_model, "aligner_file", None):
        settings["Aligner"], settings["Aligner hash"] = aligner, file_identity(resolve_file(aligner))
    settings |= {name: "yes" for name, asked in (("TF32", opt.tf32), ("Compiled", opt.compile)) if asked}
    return settings | {"Version": version()}


def digest(data: bytes) -> str:
    """16 hexadecimal digits that stand for some bytes."""
    return hashlib.sha256(data).hexdigest()[:16]


def png_info(prompt: str, settings: dict[str, Any], negative_prompt: str = "") -> PngInfo:
    """The text chunk that says what a picture was made with."""
    info = PngInfo()
    info.add_itxt(CHUNK, write_parameters(prompt, settings, negative_prompt))
    return info


def main(arguments: list[str] | None = None, variant: str | None = None) -> None:
    """Make pictures; variant is the one to make of the model, such as "v1", unless the flags name another."""
    parser = get_parser()
    parser.set_defaults(variant=variant)
    opt = parser.parse_args(arguments)
    if opt.like:
        like(opt, parser.given(arguments))
    check_options(opt)
    if opt.from_file:  # one process reads it, since there is one standard input
        opt.prompt = read_prompts(opt.from_file) if processes().rank == 0 else []
    with output_folder(opt.outdir) as outdir:
        written = draw(opt, outdir)
        if opt.index:
            from report.contact import write_index

            written["index"] = write_index(outdir)
            say(written["index"])
    if opt.json:
        print_json(written)


def like(opt: argparse.Namespace, given: set[str]) -> None:
    """Let the picture of --like stand for the flags that are not given. Raises UserError for one that does not say how
    it was made."""
    check_files(opt.like)
    picture = picture_parameters(opt.like)
    vars(opt).update(flags_of(picture, opt.like, given | ({"prompt"} if "from_file" in given else set())))
    opt.was = picture.settings


class Task(NamedTuple):
    """A prompt to draw, and the numbers of its first picture and of its grid; None: the next in their folders."""

    prompt: str
    number: int | None = None
    grid_number: int | None = None


def tasks_of_this_process(opt: argparse.Namespace, outdir: Path) -> list[Task]:
    """What to draw: every prompt, or, of several processes that torchrun started, each its share, under the numbers
    that one process would have given its pictures."""
    place = processes()
    if place.total == 1:
        return [Task(prompt) for prompt in opt.prompt]
    prompts, first, first_grid = agree(lambda: (opt.prompt, next_number(outdir / "samples"), next_number(outdir)))
    return [Task(prompt, first + i * opt.n_iter * opt.n_samples, first_grid + i)
            for i, prompt in enumerate(prompts)][place.rank :: place.total]


def batches(tasks: list[Task], opt: argparse.Namespace) -> list[list[tuple[Task, int]]]:
    """The pictures to draw, (task, seed) each, in those that are drawn at once: of one prompt, or, with --batch_size,
    so many of any."""
    everything = [(task, opt.seed + k) for task in tasks for k in range(opt.n_iter * opt.n_samples)]
    size = opt.batch_size or opt.n_samples
    return [everything[i : i + size] for i in range(0, len(everything), size)]


def draw(opt: argparse.Namespace, outdir: Path) -> dict[str, Any]:
    """Write the pictures that the flags ask for, and a grid of each prompt's: what was written, as --json prints it."""
    written: dict[str, Any] = {"pictures": [], "grids": []}
    tasks = tasks_of_this_process(opt, outdir)
    if not tasks:
        return written
    import torch

    from ldm.compiling import check_compiler
    from ldm.data.pictures import grid, save_numbered, to_image
    from ldm.devices import own_gpu
    from ldm.generate import draw_only

    opt.gpus = own_gpu() if opt.gpus is None else opt.gpus
    model = load_model(opt)
    if opt.compile:
        check_compiler(model.device)
    setting = set_up(opt, model, [task.prompt for task in tasks])
    draw_only(model, opt.precision, opt.compile)
    each = opt.n_iter * opt.n_samples
    pictures: list[torch.Tensor] = []  # of the prompt under way
    parts = batches(tasks, opt)
    steps = bar(total=len(parts) * opt.ddim_steps, desc="drawing", disable=processes().rank > 0)
    for batch in parts:
        more = (opt.batch_size or 0) - len(batch) if opt.like else 0  # numbers depend a little on how many there are
        drawn = draw_batch(opt, model, setting, [task.prompt for task, _ in batch] + [batch[-1][0].prompt] * more,
                           [seed for _, seed in batch] + [batch[-1][1]] * more, callback=lambda _: steps.update())
        for ((prompt, number, grid_number), seed), (image, info) in zip(batch, drawn, strict=False):
            if not opt.skip_save:
                file = save_numbered(to_image(image), outdir / "samples", 5, f"{slug(prompt)}_seed{seed}",
                                     None if number is None else number + seed - opt.seed, pnginfo=info)
                written["pictures"].append({"file": file, "prompt": prompt, "seed": seed})
            pictures.append(image.cpu())
            if len(pictures) == each:
                where = f"{outdir / 'samples'}" if not opt.skip_save else "nowhere"
                if not opt.skip_grid:
                    sheet = to_image(grid(torch.stack(pictures), opt.n_samples))
                    where = str(save_numbered(sheet, outdir, 4, slug(prompt), grid_number))
                    written["grids"].append({"file": where, "prompt": prompt, "pictures": each})
                pictures = []
                say(f"{where}: {counted(each, 'picture')} of {quoted(prompt)}")
    steps.close()
    return written


class Setting(NamedTuple):
    """What some prompts are drawn with: the shape of the latents, what pictures say of their making, and what each
    prompt is read as, where that is another text."""

    shape: tuple[int, int, int]
    parameters: dict[str, Any]
    read_as: dict[str, str]


def set_up(opt: argparse.Namespace, model: LatentDiffusion, prompts: list[str]) -> Setting:
    """Give a model with its words what else the flags ask for, and say what prompts are read as and what in them may be
    meant otherwise. Raises UserError for flags that do not fit the model."""
    from ldm.generate import latent_shape
    from ldm.strength import set_strength

    if opt.strength:
        set_strength(model.embedding_manager, opt.strength, opt.init_word)
    words = model.embedding_manager.placeholder_ids()
    *texts, negative = (parse_prompt(p, words).text for p in (*prompts, opt.negative_prompt))
    model.embedding_manager.warn_about(texts, bool(opt.embedding_path), negative)
    for line in dict.fromkeys(line for p in (*prompts, opt.negative_prompt) for line in find_foreign(p)):
        say(f"warning: {line}")
    opt.scale = model.guidance_scale if opt.scale is None else opt.scale
    settle_sampler(opt, model)
    if opt.negative_prompt and opt.scale == 1:
        say("warning: --negative_prompt has no part in the pictures, since --scale 1 is no guidance")
    shape = latent_shape(model, opt.H, opt.W)
    parameters = picture_settings(opt, shape, model)
    for change in changes(opt.was, parameters):
        say(f"warning: --like {opt.like}: {change}; the picture will be another")
    read_as = dict(zip(prompts, model.cond_stage_model.understood(texts, words), strict=True))
    for line in filter(None, read_as.values()):
        say(f"read as: {line}")
    return Setting(shape, parameters, read_as)


def draw_batch(opt: argparse.Namespace, model: LatentDiffusion, setting: Setting, prompts: list[str], seeds: list[int],
               **options: Any) -> list[tuple[torch.Tensor, PngInfo]]:
    """Pictures [3, H, W] of prompts and seeds, one each, with the text chunks that say what they were made with;
    options as `ldm.generate.sample_prompt` has them."""
    from ldm.generate import sample_prompt

    images = sample_prompt(model, prompts if len(set(prompts)) > 1 else prompts[0], seeds, opt.sampler,
                           opt.ddim_steps, opt.scale, opt.ddim_eta, setting.shape, opt.precision,
                           negative_prompt=opt.negative_prompt, **options)
    return [(image, png_info(prompt, setting.parameters | {"Seed": seed} | (
        {"Read as": setting.read_as[prompt]} if setting.read_as[prompt] else {}), opt.negative_prompt))
        for prompt, seed, image in zip(prompts, seeds, images, strict=True)]


if __name__ == "__main__":
    run_command(main)
