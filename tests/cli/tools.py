"""What the command-line tests share: the tools, test graphs, and models edited on the way."""
import json
import os
import struct
import subprocess
import tempfile
import unittest
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
GRAPHS = ROOT / "tests/Inputs/graphs"
TINY = GRAPHS / "tiny-llama.pt2"
QWEN = ROOT / "tests/Inputs/models/qwen1.5-7b.pt2"
BIN = Path(os.environ.get("MOAI_BIN", ROOT / "build/bin"))
TOOL = BIN / "moai-plan"


def run(*arguments, tool="moai-plan"):
    """(exit code, standard output, standard error)"""
    done = subprocess.run([str(BIN / tool), *map(str, arguments)], capture_output=True, text=True, timeout=120)
    return done.returncode, done.stdout, done.stderr


class TestCase(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def write_model(self, text, name="models/model.json"):
        """An archive like the tiny model's with another model.json."""
        path = self.folder / "model.pt2"
        with zipfile.ZipFile(TINY) as source, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as target:
            for member in source.namelist():
                if not member.endswith("model.json"):
                    target.writestr(member, source.read(member))
            if name:
                target.writestr(f"{source.namelist()[0].split('/')[0]}/{name}", text)
        return path

    def edit_model(self, edit, source=TINY):
        """The tiny model, or another one, after edit(parsed model.json)."""
        model = json.loads(read_model(source))
        edit(model)
        return self.write_model(json.dumps(model))


def read_model(path=TINY):
    with zipfile.ZipFile(path) as archive:
        return archive.read(next(name for name in archive.namelist() if name.endswith("model.json"))).decode()


def read_safetensors(path):
    """({name: (type, shape, bytes)}, facts)"""
    content = Path(path).read_bytes()
    start = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:start])
    facts = header.pop("__metadata__", {})
    return {name: (entry["dtype"], entry["shape"], content[start + entry["data_offsets"][0] : start + entry["data_offsets"][1]])
            for name, entry in header.items()}, facts


def write_safetensors(path, tensors, facts=None):
    header, content = {"__metadata__": facts} if facts else {}, b""
    for name, (kind, shape, data) in tensors.items():
        header[name] = {"dtype": kind, "shape": shape, "data_offsets": [len(content), len(content) + len(data)]}
        content += data
    text = json.dumps(header).encode()
    Path(path).write_bytes(struct.pack("<Q", len(text)) + text + content)


def tensor_of(kind, shape, numbers):
    """F32, F64, I32, I64, U8, ... as read_safetensors gives it."""
    code = {"F32": "f", "F64": "d", "I32": "i", "I64": "q", "U8": "B", "U16": "H"}[kind]
    return kind, shape, struct.pack(f"<{len(numbers)}{code}", *numbers)
