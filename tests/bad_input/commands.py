"""Every argument and option of every command. {here} is a folder of files, {model} a tiny model."""

from __future__ import annotations

from typing import NamedTuple

USAGE = 2
"""Exit status of argparse for words that make no sense."""
NO_SERVER = 4


class Call(NamedTuple):
    """One call of ``layerlab``: the option that is bad, its words, and how it must end.

    ``place`` is where the bad word stands.
    """

    command: str
    option: str
    words: tuple[str, ...]
    says: str
    status: int = 1
    place: int = -1

    @property
    def name(self) -> str:
        """The test's id."""
        word = self.words[self.place] if self.words else "left out"
        shown = word if word.startswith(self.option) else f"{self.option} {word}"
        return f"layerlab {self.command} {shown}".replace("{here}/", "").replace("  ", " ")


PROFILE = ("{model}", "--out", "{here}/new", "--prompts", "{here}/prompts.txt")
DIM = ("{model}", "7", "--out={here}/new", "--layers=-2", "--prompts={here}/two prompts.txt")
QUEUE = ("{workflow}", "--out", "{here}/new", "--server", "127.0.0.1:1")
ENCODE = ("{here}/captions", "--model={model}", "--format=musubi", "--out={here}/new")
CONCEPT = ("{here}/pairs.json", "--model={model}", "--out={here}/new")
COMPARE = ("{profile}", "{profile}", "--out={here}/new", "--layers=-2,-3")
NO_LAYER = "layer -60 does not exist: .* has 4 blocks.*; the profile has -5, -4, -3, -2, -1"
REFERENCE = "{here}/good reference.safetensors"


def calls(
    command: str, option: str, base: tuple[str, ...], cases: dict[str, str], status: int = 1
) -> list[Call]:
    """A call for each bad value of ``option``, appended to good words."""
    return [
        Call(command, option, (*base, f"{option}={value}"), says, status)
        for value, says in cases.items()
    ]


def paths(command: str, argument: str, cases: dict[str, str], *after: str) -> list[Call]:
    """A call for each bad first argument."""
    return [
        Call(command, argument, (f"{{here}}/{path}", *after), says, place=0)
        for path, says in cases.items()
    ]


NOT_A_FOLDER = "is not a folder: name another"
SECONDS = {
    "0": "is 0: it must be a number of seconds over 0",
    "-1": "is -1: it must be",
    "nan": "is nan: it must be",
    "inf": "is inf: it must be",
}
WORKFLOWS = {
    "gone.json": "gone.json does not exist",
    "prompts.txt": "is not JSON: .* in line 1",
    "latin.txt": "is not UTF-8 .byte 5.; save it as UTF-8",
    "empty.json": "is no workflow: it must be an object of nodes by id",
    "list.json": "is no workflow",
    "no class.json": "none of its parts has a class_type, .*; they are '1'. In ComfyUI: Workflow >",
    "half a class.json": "'2' has no class_type, only 'inputs'. In ComfyUI: Workflow > Export",
    "paint.png": "is a PNG without a workflow of ComfyUI: the texts in it are 'Software'",
    "deep.json": "nested too deeply",
    "a folder.safetensors": "cannot be read",
}
PROFILES = {
    "gone.json": "there is no such file; layerlab profile MODEL writes one",
    "prompts.txt": "cannot be read as a profile",
    "newer.json": "schema_version 2.*: profile the model again",
    "cut.json": "cannot be read as a profile",
    "bare.json": "it lacks",
}
REFERENCES = {
    "gone.safetensors": "there is no such file",
    "cut reference.safetensors": "cannot be read as a reference: .*; choose another file",
    "other.safetensors": "not a reference of this pack .*; choose another file",
    "newer reference.safetensors": "update Z-Image Layer Lab",
    "pickle.npz": "pickles are never read; choose another file",
    "nan.npz": "NaN or infinity; choose another file",
}

ROWS = [
    Call("", "COMMAND", (), "the following arguments are required: COMMAND", USAGE),
    Call("", "COMMAND", ("paint",), "invalid choice: 'paint'", USAGE),
    Call("", "--version", ("--version=x",), "ignored explicit argument", USAGE),
    Call("stats", "ACTION", (), "required: ACTION", USAGE),
    Call("demo", "--out", ("--out", "{here}/prompts.txt"), NOT_A_FOLDER),
    Call("demo", "--no-comfyui", ("--no-comfyui=x",), "ignored explicit argument", USAGE),
    *paths(
        *("profile", "model"),
        {
            "gone": "there is no such model; give a folder with config.json and",
            "prompts.txt": "is neither a GGUF nor a .safetensors file: give a folder",
            "bare model": "is no model: it has no config.json. Give a folder with",
            "cut.gguf": "cut.gguf",
            "cut model": "the weights cannot be read",
        },
        *PROFILE[1:],
    ),
    *calls(
        *("profile", "--tokenizer", PROFILE),
        {
            "{here}/gone": "gone: there is no such folder",
            "{here}/prompts.txt": "there is no such folder",
            "{here}/bare model": "bare model has no tokenizer .tokenizer.json",
        },
    ),
    *calls(
        *("profile", "--prompts", PROFILE),
        {
            "{here}/gone.txt": "there is no such file; give --prompts a text file",
            "{here}": "is not a file; give --prompts a text file",
            "{here}/latin.txt": "is not UTF-8: line 1, byte 6 is 0xe9; save it as UTF-8",
            "{here}/blank.txt": "holds no prompt: write at least one",
            "{here}/long.txt": "line 1: the prompt has .* tokens and the model's context",
        },
    ),
    *calls(
        *("profile", "--images", PROFILE),
        {
            "{here}/gone": "there is no such folder; give --images a folder",
            "{here}/prompts.txt": "is not a folder; give --images the folder that holds",
            "{here}/bare model": "holds no image: put at least one into it",
            "{here}/good images": "cannot read images: it is a model of the type 'llama'",
        },
    ),
    *calls(
        *("profile", "--tokens", (*PROFILE, "--images={here}/good images")),
        {"text": "invalid choice: 'text'"},
        USAGE,
    ),
    *calls("profile", "--tokens", PROFILE, {"all": "--tokens is about images: give --images"}),
    *calls(
        *("profile", "--max-image-tokens", (*PROFILE, "--images={here}/good images")),
        {
            "3": "--max-image-tokens is 3: ComfyUI gives an image between 4 and 12544",
            "99999": "--max-image-tokens is 99999: .*the usual budget is 1024",
        },
    ),
    *calls(
        *("profile", "--max-image-tokens", PROFILE),
        {"64": "--max-image-tokens is about images: give --images"},
    ),
    *calls(
        *("profile", "--max-image-tokens", PROFILE),
        {"many": "invalid int value: 'many'"},
        USAGE,
    ),
    *calls(
        *("profile", "--layers", PROFILE),
        {
            "": "is neither 'all' nor a list like -2,-6: .* is empty",
            "two": "is neither 'all' nor a list like -2,-6",
            "-2.5": "is neither 'all' nor a list",
            "-2,,-3": "is neither 'all' nor a list",
            "-9": "layer -9 does not exist: this encoder has 4 blocks",
        },
    ),
    *calls("profile", "--out", PROFILE, {"{here}/prompts.txt": NOT_A_FOLDER}),
    *calls("profile", "--out", PROFILE, {"{here}/prompts.txt/below": "cannot be written|is not"}),
    *calls(
        *("profile", "--device", PROFILE),
        {"tpu": "--device tpu", "cuda:99": "--device cuda:99 cannot be used here", "": "--device"},
    ),
    *calls("profile", "--dtype", PROFILE, {"int8": "invalid choice: 'int8'"}, USAGE),
    *calls(
        *("profile", "--batch-tokens", PROFILE),
        {"0": "--batch-tokens is 0: it must be at least 1", "-5": "--batch-tokens is -5"},
    ),
    *calls("profile", "--batch-tokens", PROFILE, {"many": "invalid int value: 'many'"}, USAGE),
    *calls(
        *("profile", "--ray", PROFILE),
        {
            "somewhere": "give 'local', 'auto', or HOST:PORT",
            "ray://head:10001": "give 'local', 'auto', or HOST:PORT",
            "127.0.0.1:99999": "no Ray answers at 127.0.0.1:99999",
        },
    ),
    *calls(
        *("profile", "--workers", (*PROFILE, "--ray=local")),
        {"0": "--workers is 0: it must be at least 1", "-1": "--workers is -1"},
    ),
    *calls("profile", "--workers", PROFILE, {"1.5": "invalid int value: '1.5'"}, USAGE),
    *calls(
        *("profile", "--reference", PROFILE),
        {f"{{here}}/{path}": says for path, says in REFERENCES.items()},
    ),
    *calls(
        *("profile", "--reference", PROFILE),
        {REFERENCE: "--reference: the reference .* the states have 32: they cannot be measured"},
    ),
    Call("encode", "captions", ENCODE[1:], "something is missing: .*CAPTIONS --model MODEL"),
    *paths(
        *("encode", "captions"),
        {
            "gone": "there is no such file or folder; give a folder of images",
            "good images": "no caption that can be encoded a.png has no caption: write a.txt",
            "bare model": "holds no caption that can be encoded",
            "latin.txt": "is not UTF-8: byte 6; save it as UTF-8 text",
            "blank.txt": "holds no caption that can be encoded",
            "bad.jsonl": 'bad.jsonl, line 1 is .*it must be an object with "image_path" and',
        },
        *ENCODE[1:],
    ),
    *calls(
        *("encode", "--model", (ENCODE[0], *ENCODE[2:])),
        {"{here}/gone": "there is no such model", "{here}/cut model": "weights cannot be read"},
    ),
    *calls("encode", "--tokenizer", ENCODE, {"{here}/gone": "gone: there is no such folder"}),
    *calls("encode", "--format", ENCODE, {"pickle": "invalid choice: 'pickle'"}, USAGE),
    *calls(
        *("encode", "--layer", ENCODE),
        {
            "-9": "layer -9 does not exist: this encoder has 4 blocks",
            "-2,-3": "--layer '-2,-3': .* names 2 layers: give one such as -6, or a mix",
            "-2: 1, -3: -1": "--layer .*: the weights add up to 0",
            "": "--layer '': the list of layers is empty",
        },
    ),
    *calls("encode", "--mix", ENCODE, {"mean": "invalid choice: 'mean'"}, USAGE),
    *calls("encode", "--mask", ENCODE, {"one": "invalid choice: 'one'"}, USAGE),
    *calls(
        *("encode", "--threshold", (*ENCODE, "--mask=zero")),
        {"0.5": "--threshold is 0.5: it must be a number at least 1", "nan": "--threshold is nan"},
    ),
    *calls("encode", "--direction", ENCODE, {"up": "invalid choice: 'up'"}, USAGE),
    *calls("encode", "--exclude-sinks", ENCODE, {"x": "ignored explicit argument"}, USAGE),
    *calls("encode", "--normalize", ENCODE, {"one": "invalid choice: 'one'"}, USAGE),
    *calls("encode", "--normalize-sinks", ENCODE, {"x": "ignored explicit argument"}, USAGE),
    *calls(
        *("encode", "--reference", ENCODE),
        {"{here}/other.safetensors": "--reference is what --mask and --normalize measure against"},
    ),
    *calls(
        *("encode", "--reference", (*ENCODE, "--mask=zero")),
        {
            "{here}/gone.safetensors": "there is no such file",
            REFERENCE: "--reference: the reference .* the states have 32",
        },
    ),
    *calls("encode", "--trigger", ENCODE, {"sks": "--trigger is about ai-toolkit: say"}),
    Call("encode", "--dropout", (*ENCODE, "--dropout"), "--dropout is about ai-toolkit: say"),
    *calls("encode", "--dtype", ENCODE, {"fp8": "invalid choice: 'fp8'"}, USAGE),
    *calls("encode", "--max-tokens", ENCODE, {"0": "--max-tokens is 0: it must be at least 1"}),
    *calls("encode", "--cut", ENCODE, {"x": "ignored explicit argument"}, USAGE),
    *calls("encode", "--out", ENCODE[:3], {"{here}/prompts.txt": NOT_A_FOLDER}),
    *calls("encode", "--overwrite", ENCODE, {"x": "ignored explicit argument"}, USAGE),
    *calls(
        *("encode", "--check", ()),
        {
            "{here}/gone": "there is no such folder",
            "{here}/captions": "holds no caption cache: name the folder",
        },
    ),
    *calls("encode", "--device", ENCODE, {"tpu": "--device tpu"}),
    *calls("encode", "--ray", ENCODE, {"somewhere": "give 'local', 'auto', or HOST:PORT"}),
    *calls("encode", "--workers", (*ENCODE, "--ray=local"), {"0": "--workers is 0: it must be"}),
    *calls("encode", "--batch-tokens", ENCODE, {"0": "--batch-tokens is 0: it must be"}),
    *paths(
        *("concept", "pairs"),
        {
            "gone.json": "gone.json cannot be read: No such file .*; give a JSON file such as",
            "prompts.txt": "is not JSON: .* in line 1; write it as",
            "latin.txt": "is not UTF-8 .byte 5.; save it as UTF-8",
            "deep.json": "nested too deeply",
            "list.json": "is not an object of concepts by name, such as",
            "no class.json": "'1' is not a list of pairs: write for example",
            "odd pairs.json": "pair 2 of 'smile' is .'w1'.: write two prompts",
            "blank pairs.json": "pair 1 of 'smile' is .* neither of them empty",
            "same pairs.json": "'smile': the two sides of every pair are equal",
            "twice pairs.json": "the name 'smile' comes twice: rename one",
            "named pairs.json": "'../smile' cannot be the name of a file .*: name the concept by",
            "alike pairs.json": "two names that differ in capitals alone",
            "long pairs.json": "has 129 tokens and the model's context is 64: shorten",
        },
        *CONCEPT[1:],
    ),
    Call("concept", "--model", CONCEPT[:1], "arguments are required: --model", USAGE),
    *calls("concept", "--model", CONCEPT, {"{here}/gone": "there is no such model"}),
    *calls("concept", "--tokenizer", CONCEPT, {"{here}/gone": "gone: there is no such folder"}),
    *calls(
        *("concept", "--layer", CONCEPT),
        {
            "two": "--layer 'two': ",
            "-9": "layer -9 does not exist: this encoder has 4 blocks",
            "-2: 1, -3: 1": "is a mix, and a concept is of one layer: give one",
        },
    ),
    *calls("concept", "--out", CONCEPT[:2], {"{here}/prompts.txt": NOT_A_FOLDER}),
    *calls("concept", "--device", CONCEPT, {"tpu": "--device tpu"}),
    *calls("concept", "--dtype", CONCEPT, {"int8": "invalid choice: 'int8'"}, USAGE),
    *paths(
        *("dim", "model"),
        {
            "gone": "there is no such model; give a folder with config.json and",
            "prompts.txt": "is neither a GGUF nor a .safetensors file: give a folder",
            "cut model": "the weights cannot be read",
        },
        *DIM[1:],
    ),
    Call(
        "dim",
        "dimensions",
        ("{model}", "32", *DIM[2:]),
        "DIM 32 does not exist: .* dimensions 0 to 31",
        place=1,
    ),
    Call("dim", "dimensions", ("{model}", "seven"), "invalid int value: 'seven'", USAGE),
    *calls("dim", "--tokenizer", DIM, {"{here}/gone": "gone: there is no such folder"}),
    *calls(
        *("dim", "--prompts", DIM),
        {
            "{here}/gone.txt": "there is no such file; give --prompts a text file",
            "{here}/blank.txt": "holds no prompt: write at least one",
            "{here}/prompts.txt": "at least two prompts are needed, since shuffling takes",
        },
    ),
    *calls(
        *("dim", "--layers", DIM),
        {
            "": "is neither 'all' nor a list like emergence,-2,-6: .* is empty",
            "two": "is neither 'all' nor a list like emergence",
            "emergence,,-2": "is neither 'all' nor a list",
            "-9": "layer -9 does not exist: this encoder has 4 blocks",
        },
    ),
    *calls(
        *("dim", "--loss-prompts", DIM),
        {"1": "--loss-prompts is 1: it must be a number between 2 and 4096"},
    ),
    *calls(
        *("dim", "--controls", DIM),
        {"-1": "--controls is -1: it must be a number between 0 and 256", "257": "--controls is"},
    ),
    *calls(
        *("dim", "--control-prompts", DIM),
        {"0": "--control-prompts is 0: it must be a number between 1 and 4096"},
    ),
    *calls(
        *("dim", "--dit", DIM),
        {
            "{here}/gone.safetensors": "gone.safetensors: there is no such file; give the",
            "{here}/cut.safetensors": "cannot be read: .*; give the diffusion model's",
            "{here}/good.safetensors": "has no cap_embedder.0.weight and cap_embedder.1.weight",
        },
    ),
    *calls("dim", "--out", DIM, {"{here}/prompts.txt": NOT_A_FOLDER}),
    *calls("dim", "--device", DIM, {"cuda:99": "--device cuda:99 cannot be used here"}),
    *calls("dim", "--dtype", DIM, {"int8": "invalid choice: 'int8'"}, USAGE),
    *calls("dim", "--batch-tokens", DIM, {"0": "--batch-tokens is 0: it must be at least 1"}),
    *calls("dim", "--ray", DIM, {"somewhere": "give 'local', 'auto', or HOST:PORT"}),
    *calls("dim", "--workers", (*DIM, "--ray=local"), {"0": "--workers is 0: it must be"}),
    *paths("compare", "a", PROFILES, "{profile}", "--out={here}/new"),
    *(
        Call("compare", "b", ("{profile}", f"{{here}}/{path}", "--out={here}/new"), says, place=1)
        for path, says in PROFILES.items()
    ),
    *calls(
        *("compare", "--layers", COMPARE[:3]),
        {
            "": "'' is no list of layers .* is empty",
            "two": "is no list of layers such as",
            "-2,,-3": "is no list of layers such as",
            "-2,-60": NO_LAYER,
            "-2..-60": NO_LAYER,
        },
    ),
    *calls(
        *("compare", "--layers-b", COMPARE),
        {
            "": "'' is no list of layers .* is empty",
            "two": "'two' is no list of layers such as -2,-6",
            "-2,-60": NO_LAYER,
            "all": "--layers names 2 layers and --layers-b 5: give as many",
            "-2,-3,-4": "--layers names 2 layers and --layers-b 3: give as many",
        },
    ),
    Call(
        *("compare", "--out"),
        ("{profile}", "{profile}", "--layers=-2", "--out={here}/prompts.txt"),
        "cannot be written: .*name another --out",
    ),
    *paths("queue", "workflow", WORKFLOWS, *QUEUE[1:]),
    *(
        call._replace(status=NO_SERVER)
        for call in paths("queue", "workflow", {"save.json": "Start ComfyUI"}, *QUEUE[1:])
    ),
    *calls(
        *("queue", "--server", QUEUE[:3]),
        {
            "": "Give HOST:PORT, such as 127.0.0.1:8188",
            "host:": "--server host:: it names no host, or a port that there is not. Give HOST",
            "127.0.0.1:99999": "Give HOST:PORT",
            "127.0.0.1:-1": "Give HOST:PORT",
            "a b:80": "Give HOST:PORT",
            "ftp://gpu1:8188": "it begins with neither http:// nor https://. Give HOST:PORT",
        },
    ),
    *calls(
        *("queue", "--header", QUEUE),
        {
            "secret": "--header: it is not of the form 'Name: value'; such as 'Authorization",
            "A b: secret": "it is not of the form 'Name: value'",
            "A: \u1234": "the value of A has a character that no header can have",
        },
    ),
    Call("queue", "--insecure", (*QUEUE, "--insecure=x"), "ignored explicit argument", USAGE),
    Call("queue", "--json", (*QUEUE, "--json=x"), "ignored explicit argument", USAGE),
    Call("queue", "--upload", (*QUEUE, "--upload=x"), "ignored explicit argument", USAGE),
    *calls("queue", "--only", QUEUE, {"text": "invalid choice: 'text'"}, USAGE),
    Call("queue", "--server", (*QUEUE, "--server=127.0.0.1:1"), "an address is given twice"),
    Call("queue", "--server", QUEUE, "Start ComfyUI, or give its address with", NO_SERVER),
    *calls(
        *("queue", "--set", QUEUE),
        {
            "": "is not of the form NODE.INPUT=VALUE",
            "Seed.value": "is not of the form NODE.INPUT=VALUE",
            "Nothing.value=1": "no node has the id or title 'Nothing'. There are",
            "Seed.nothing=1": "has no input 'nothing'; it has",
            "Seed.value=abc": "Seed.value = 'abc': it must be a number",
            "Seed.value=NaN": "Seed.value = 'NaN': it must be a finite number",
            "Seed.value=1e999": "it must be a finite number",
            "Seed.value=true": "it must be a number",
        },
    ),
    *calls(
        *("queue", "--settings", QUEUE),
        {
            "{here}/gone.csv": "gone.csv does not exist",
            "{here}/prompts.txt": "it must be a .csv or a .json file",
            "{here}/empty.csv": "empty.csv has no row",
            "{here}/twice.csv": "every column needs a header of its own, NODE.INPUT",
            "{here}/ragged.csv": "row 2 has 3 cells and the header 2; a cell with ',' in it",
            "{here}/empty.json": "it must be a list of objects",
            "{here}/rows of text.json": "it must be a list of objects",
            "{here}/deep.json": "nested too deeply",
        },
    ),
    *calls(
        *("queue", "--repeat", QUEUE),
        {"0": "--repeat is 0: it must be at least 1", "-3": "--repeat is -3: it must be"},
    ),
    *calls("queue", "--repeat", QUEUE, {"twice": "invalid int value: 'twice'"}, USAGE),
    *calls("queue", "--ray", QUEUE, {"head:6379": "Leave --ray out and repeat --server"}),
    *calls("queue", "--out", QUEUE, {"{here}/prompts.txt": NOT_A_FOLDER}),
    *(
        call
        for option in ("--timeout", "--contact")
        for call in [
            *calls("queue", option, QUEUE, SECONDS),
            *calls("queue", option, QUEUE, {"long": "invalid float value: 'long'"}, USAGE),
        ]
    ),
    *paths("stats show", "file", REFERENCES),
    *paths("stats convert", "source", REFERENCES, "{here}/new.npz"),
    *(
        Call("stats convert", "target", (REFERENCE, f"{{here}}/{target}"), says)
        for target, says in {
            "whole.npz": "whole.npz exists: --force replaces it",
            "new.pt": "is saved as .safetensors or .npz",
            "prompts.txt/new.npz": "prompts.txt",
        }.items()
    ),
    Call("stats convert", "--force", ("a", "b", "--force=x"), "ignored explicit argument", USAGE),
]
