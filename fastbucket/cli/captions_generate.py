"""fastbucket captions generate."""

from __future__ import annotations

import json
from typing import Any

import click

from ..errors import RunError


def _fields(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> dict[str, Any]:
    """NAME=VALUE pairs; a value that is JSON counts as that, any other as text."""
    fields: dict[str, Any] = {}
    for value in values:
        name, sign, text = value.partition("=")
        if not sign or not name:
            raise click.BadParameter(f"{value!r} is not NAME=VALUE", ctx, param)
        try:
            fields[name] = json.loads(text)
        except ValueError:
            fields[name] = text
    return fields


@click.command("generate")
@click.argument("out", type=click.Path(exists=True, file_okay=False))
@click.option("--model", required=True, help="The model, as the endpoint names it.")
@click.option(
    "--prompt-file",
    type=click.File("rb"),
    required=True,
    help="What is asked of every image: UTF-8 text; - for standard input.",
)
@click.option(
    "--base-url",
    envvar="OPENAI_BASE_URL",
    default="https://api.openai.com/v1",
    help="The endpoint, up to and without /chat/completions; else OPENAI_BASE_URL.  "
    "[default: https://api.openai.com/v1]",
)
@click.option(
    "--api-key-env",
    metavar="NAME",
    default="",
    help="The environment variable that holds the key.  [default: OPENAI_API_KEY, if set]",
)
@click.option(
    "--variant", default="", help="Name of the captions.  [default: caption_ and the model's name]"
)
@click.option(
    "--only-missing",
    is_flag=True,
    help="Leave out samples that have a caption of any other variant.",
)
@click.option(
    "--priority",
    metavar="VARIANT",
    multiple=True,
    help="With --only-missing: look at these variants only; repeatable, as for captions apply.",
)
@click.option(
    "--retry-refused", is_flag=True, help="Ask again where the model refused or said nothing."
)
@click.option("--limit", type=click.IntRange(1), help="Ask about this many samples at most.")
@click.option(
    "--concurrency",
    type=click.IntRange(1, 4096),
    default=16,
    show_default=True,
    help="Requests under way at once; fewer where the endpoint answers 429.",
)
@click.option(
    "--max-requests",
    type=click.IntRange(1),
    help="Send this many requests at most, those sent again among them.",
)
@click.option(
    "--max-attempts",
    type=click.IntRange(1),
    default=6,
    show_default=True,
    help="Requests for one image before it is noted as an error; 429 does not count.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(0, min_open=True),
    default=120.0,
    show_default=True,
    help="Seconds for one request, answer and all.",
)
@click.option("--max-tokens", type=click.IntRange(1), help="Longest answer, in tokens.")
@click.option("--temperature", type=click.FloatRange(0), help="0: the likeliest words.")
@click.option(
    "--field",
    "fields",
    metavar="NAME=VALUE",
    multiple=True,
    callback=_fields,
    help="A further field of the request, its value JSON or text; repeatable.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the outcome as JSON.")
@click.option("-q", "--quiet", is_flag=True, help="No progress.")
def command(
    out: str,
    model: str,
    prompt_file: Any,
    base_url: str,
    api_key_env: str,
    timeout: float,
    max_tokens: int | None,
    temperature: float | None,
    fields: dict[str, Any],
    as_json: bool,
    quiet: bool,
    **course: Any,
) -> None:
    """Ask a model for a caption of every image of OUT that has none of this variant yet.

    Any OpenAI-compatible chat endpoint will do, hosted or local (vLLM, llama.cpp). Answers are
    noted in captions.sqlite as they come; the same command goes on after an end of any kind.
    captions apply then writes them into the shards.

    \b
    Examples:
      fastbucket captions generate out --model ministral-14b-2512 --prompt-file prompt.txt \\
          --base-url http://127.0.0.1:8000/v1 --concurrency 64
      fastbucket captions generate out --model gpt-5-mini --prompt-file prompt.txt --limit 20
      fastbucket captions generate out --model google/gemini-2.5-flash-lite \\
          --prompt-file prompt.txt --base-url https://openrouter.ai/api/v1 \\
          --api-key-env OPENROUTER_API_KEY --only-missing --max-requests 50000
    """
    from ..captions.client import Endpoint, key_from
    from ..captions.course import Course
    from ..captions.generate import generate
    from ..captions.question import Question
    from . import tables

    try:
        prompt = prompt_file.read()
    except OSError as error:
        raise RunError(f"--prompt-file {prompt_file.name}: {error.strerror}") from None
    question = Question(model, prompt, max_tokens, temperature, fields)
    endpoint = Endpoint(base_url, *key_from(api_key_env), timeout)
    progress = tables.progress(-1 if quiet else 0)
    with progress:
        done = generate(out, question, endpoint, Course(**course), progress)
    if as_json:
        click.echo(json.dumps(done.to_json(), ensure_ascii=False, indent=2))
        return
    click.echo(f"{done}.")
    if done.ended == "budget":
        click.echo(f"--max-requests {course['max_requests']:,} is used up.")
    if done.error:
        click.echo(f"The last error: {done.last_error}")
