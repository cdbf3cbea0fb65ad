"""Nothing in a file is executed, and no program is started for it."""

import json
import sys

import pytest
from PIL import Image

from vqlearn.data import ImageFolder

# B1 ------------------------------------------------------------------------------

# B2 ------------------------------------------------------------------------------

# B3 ------------------------------------------------------------------------------

EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n%%EOF\n"
PDF = b"%PDF-1.4\n1 0 obj\n<<>>\nendobj\n%%EOF\n"
WMF = b"\xd7\xcd\xc6\x9a\0\0" + bytes(20)


@pytest.mark.parametrize("content", [EPS, PDF, WMF], ids=["eps", "pdf", "wmf"])
@pytest.mark.parametrize("name", ["cat.jpg", "cat.eps", "cat"])
def test_no_program_is_started_for_an_image(tmp_path, caplog, name, content):
    Image.new("RGB", (8, 8)).save(tmp_path / "good.png")
    (tmp_path / name).write_bytes(content)
    lines = [json.dumps({"file_name": each, "text": each}) for each in (name, "good.png")]
    (tmp_path / "metadata.jsonl").write_text("\n".join(lines))
    started = []
    sys.addaudithook(lambda event, _: started.append(event) if event in PROGRAMS else None)
    assert ImageFolder(tmp_path, 8).captions() == ["good.png"]
    assert not started
    assert f"line 1 is left out: file_name is '{name}'; it is no image" in caplog.messages[0]


PROGRAMS = {"subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork"}

# B4 ------------------------------------------------------------------------------
