"""Texts: prompts, lists of layers, labels, names of files; and the files themselves."""

from __future__ import annotations

from .rows import Row, first_over_http, odd, typed

TEXTS = [
    ("Qwen3Encode", "text"),
    ("Qwen3Encode", "system_prompt"),
    ("Qwen3Encode", "think_text"),
    ("Qwen3Encode", "assistant_text"),
    ("LayerSweep", "text"),
    ("LayerSweep", "system_prompt"),
    ("LayerMix", "text"),
    ("WeightedEncode", "text"),
    ("LayerMix", "system_prompt"),
    ("VLEncode", "text"),
    ("VLEncode", "system_prompt"),
    ("VLEncode", "think_text"),
    ("VLEncode", "assistant_text"),
    ("SaveCaptionCache", "caption"),
    ("SaveCaptionCache", "trigger"),
]
PROMPTS = [
    ("LayerProfile", "prompts"),
    ("BuildReference", "prompts"),
    ("DimensionProbe", "prompts"),
]
LISTS = [("LayerSweep", "layers"), ("LayerMix", "weights")]
PREFIXES = [
    ("SaveEmbedding", "filename_prefix"),
    ("SaveReference", "filename_prefix"),
    ("SaveConcept", "filename_prefix"),
    ("SaveCaptionCache", "name"),
]

LATIN = "is not UTF-8 .byte 5 is 0xe9.: save it as UTF-8"
OUTSIDE = "does not name a file inside ComfyUI's output folder"
ELSEWHERE = "outside ComfyUI's output and input folders"

FILES = {
    "LoadEmbedding": {
        "cut.safetensors [input]": "cut.safetensors cannot be read as an embedding",
        "empty.safetensors [input]": "empty.safetensors cannot be read as an embedding",
        "other.safetensors [input]": "only files that Save Embedding wrote can be loaded",
        "newer.safetensors [input]": "its version is '2' and this pack reads 1.*[Uu]pdate",
        "changed.safetensors [input]": "is damaged or was changed; save the conditioning again",
        "gone.safetensors [input]": "does not exist: choose a file that is there",
        "a folder.safetensors [input]": "does not exist: choose a file that is there",
        "prompts.txt [input]": "is no embedding file: those end in .safetensors",
        "../secret.safetensors [input]": ELSEWHERE,
        "/etc/passwd": ELSEWHERE,
        "cut.safetensors [temp]": ELSEWHERE,
        "a\0b.safetensors [input]": ELSEWHERE,
        f"{'long' * 200}.safetensors [input]": "does not exist: choose a file that is there",
        "": "is no embedding file",
    },
    "LoadReference": {
        "cut reference.safetensors [input]": "cannot be read as a reference",
        "empty.safetensors [input]": "cannot be read as a reference",
        "other.safetensors [input]": "not a reference of this pack",
        "newer reference.safetensors [input]": "layer_lab_reference_v2.*[Uu]pdate",
        "cut.npz [input]": "cut.npz cannot be read as a reference",
        "pickle.npz [input]": "pickle.npz cannot be read as a reference",
        "half.npz [input]": "half.npz cannot be read as a reference: it lacks 'per_dim_std'",
        "negative.npz [input]": "negative.npz cannot be read as a reference: .*negative",
        "nan.npz [input]": "nan.npz cannot be read as a reference: .*NaN or infinity",
        "gone.npz [input]": "does not exist: choose a file that is there",
        "prompts.txt [input]": "is no reference file: those end in .safetensors or .npz",
        "../secret.npz [output]": ELSEWHERE,
        "/etc/passwd": ELSEWHERE,
    },
    "LoadConcept": {
        "cut concept.safetensors [input]": "cannot be read as a concept",
        "empty.safetensors [input]": "cannot be read as a concept",
        "other.safetensors [input]": "not a concept of this pack.*choose another",
        "newer concept.safetensors [input]": "layer_lab_concept_v2.*[Uu]pdate",
        "gone.safetensors [input]": "does not exist: choose a file that is there",
        "prompts.txt [input]": "is no concept file: those end in .safetensors",
        "../secret.safetensors [output]": ELSEWHERE,
        "/etc/passwd": ELSEWHERE,
    },
}
"""Names that are typed; the files lie in the input folder (:mod:`files`)."""


def _text(node: str, name: str) -> list[Row]:
    rows = odd(
        node,
        name,
        {
            "None": f"{name} is NoneType, not text: connect or type a text",
            "half of a surrogate pair": f"character 3 of {name} is .*half of a surrogate pair: rem",
            "a number": f"{name} is int, not text",
            "a list of two numbers": f"{name} is list, not text",
        },
    )
    return first_over_http(rows, 2)


def _prompts(node: str, name: str) -> list[Row]:
    return [
        *odd(node, name, {"None": "prompts is NoneType, not text", "a number": "prompts is int"}),
        *odd(node, name, {"half of a surrogate pair": "half of a surrogate pair"}),
        *typed(
            node,
            name,
            {
                "gone.txt": "'gone.txt' is not in ComfyUI's input folder: put it there, or type",
                "../secret.txt": "is outside ComfyUI's input folder: put the file there",
                "/etc/passwd.txt": "is outside ComfyUI's input folder",
                "latin.txt": LATIN,
                "blank.txt": "blank.txt holds no prompt: give one prompt a line",
            },
        ),
    ]


def _prefix(node: str, name: str) -> list[Row]:
    return [
        *typed(node, name, dict.fromkeys(["../escape", "/tmp/escape", "", "a\0b"], OUTSIDE)),
        *odd(node, name, {"None": f"{name} is NoneType, not text"}),
        *odd(node, name, {"a list of two numbers": f"{name} is list, not text"}),
    ]


ROWS = [
    *(row for place in TEXTS for row in _text(*place)),
    *(row for place in PROMPTS for row in _prompts(*place)),
    *(row for place in PREFIXES for row in _prefix(*place)),
    *typed("LayerProfile", "prompts", {"": "prompts is empty: give one", " \n ": "is empty"}),
    *odd("VLEncode", "text", {"<|image_pad|>": "holds <.image_pad.>, which stands for an image"}),
    *odd("VLEncode", "system_prompt", {"<|image_pad|>": "the system_prompt holds <.image_pad.>"}),
    Row("VLEncode", "tokens", "text", "tokens 'text' selects nothing: .*Type a text"),
    Row("OutlierMask", "tokens", "image", "tokens 'image' selects nothing: .*Choose 'all'"),
    Row("Qwen3Encode", "text", "", gives=(8, 2560)),
    Row("WeightedEncode", "text", "", gives=(8, 2560)),
    *typed(
        *("WeightedEncode", "text"),
        {
            "a (red fox": "'.' at character 3, which nothing closes: remove it",
            "a red] fox": "'.' at character 6, which closes nothing: remove it",
            "a () fox": "'.' at character 3 around no words: write some",
            "(red:1,4) fox": "the weight '1,4' .* is no number: write it like",
            "(red:nan) fox": "the weight of 'red' is nan: it must be a number between",
            "(red:99) fox": "the weight of 'red' is 99.0: it must be a number between",
        },
    ),
    Row("WeightedEncode", "text", "re(d:2) fox", "'d' in text has the weight 2 and no token"),
    *typed(
        *("LayerSweep", "layers"),
        {
            "": "list of layers is empty: write for example",
            "two": "'two' is no layer: write a whole number",
            "-2,,-6": "nothing before or after one of its commas: remove",
            "-2..": "'-2..' is no layer",
            "99": "layer 99 does not exist: .*layers run from -37 to -1",
            "-20": "layer -20 does not exist: this encoder has 8 blocks",
            "9" * 300: "is no layer: write",
        },
    ),
    *typed(
        *("LayerMix", "weights"),
        {
            "": "list of weights is empty: write for example",
            "-2": "'-2' is no weight of a layer: write LAYER: WEIGHT",
            "-2: x": "'x' in '-2: x' is no number: write a weight",
            "-2: nan": "a weight is nan: it must be a finite number",
            "-2: 1e999": "a weight is inf: it must be a finite number",
            "-2: 1, -6: -1": "the weights add up to 0.*: change one",
            "-2: 0": "the weights add up to 0",
            "-2: 1, 35: 1": "layer -2 again: give each layer one weight",
            "-20: 1": "layer -20 does not exist: this encoder has 8 blocks",
        },
    ),
    *(
        row
        for node, name in LISTS
        for row in odd(node, name, {"None": f"list of {name} is None", "a number": "no text"})
    ),
    *first_over_http(
        [
            *typed(
                *("Blend", "alphas"),
                {
                    "fox: 2": "in alphas, 'fox: 2' is 2.0: it must be a number between 0 and 1",
                    "fox: 0.8": "alphas names words, and the text side does not .*: connect",
                    "0.1, 0.2": "alphas has 2 numbers and the text 8 text tokens .*give one for",
                    "nan": "in alphas, 'nan' is nan: it must be",
                    "fox: much": "alphas has 'fox: much', and 'much' is no number: it must be",
                    "fox: 0.5, 0.1": "alphas has '0.1': give either one number",
                    ": 0.1": "alphas has ': 0.1': give either one number",
                },
            ),
            Row(
                *("Blend", "alphas", "0.1", "method 'graduated' sets .*choose another method"),
                others={"method": "graduated"},
            ),
            *odd("Blend", "alphas", {"None": "alphas is None: it must be a text"}),
            *odd("Blend", "alphas", {"a number": "alphas is .*: it must be a text"}),
        ],
        3,
    ),
    *typed("DitResponse", "labels", {"one\ntwo": "there are 1 variants and 2 labels: connect"}),
    *typed(
        *("DitResponse", "at"),
        {
            "": "at is empty: give at least one step of 1 to 1",
            "2": "at has '2', which is no step of 1 to 1: give",
            "first": "at has 'first', which is no step",
        },
    ),
    *typed(
        *("DitGain", "dimensions"),
        {"396, 9999": "dimensions has '9999': give numbers from 0 to 2559", "x": "has 'x': give"},
    ),
    *typed("CompareGrid", "labels", {"one\ntwo": "2 labels for 1 images. Give one label per"}),
    *typed("CompareGrid", "row_titles", {"a,,b": "row_titles: title 2 of 3 is empty; remove"}),
    *typed("CompareGrid", "row_titles", {"a,b": "1 images do not fill 2 rows .row_titles.: give"}),
    *typed("CompareGrid", "column_titles", {"a,,b": "column_titles: title 2 of 3 is empty"}),
    Row(
        *("CompareGrid", "column_titles", "a,b"),
        "columns is 3, but there are 2 column_titles: set columns to 0",
        others={"columns": 3},
    ),
    *(row for node, cases in FILES.items() for row in typed(node, "name", cases)),
    *(
        row
        for node in FILES
        for row in odd(node, "name", {"None": "name is NoneType, not text", "a number": "name is"})
    ),
]
