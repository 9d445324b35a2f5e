"""The include check must fail where an include is forbidden: each rule, once."""
import pathlib
import subprocess
import sys
import tempfile
import unittest

LAYERS = pathlib.Path(__file__).resolve().parents[2] / "tools" / "layers.py"


class Layers(unittest.TestCase):
    def run_on(self, path, text):
        with tempfile.TemporaryDirectory() as root:
            file = pathlib.Path(root) / path
            file.parent.mkdir(parents=True)
            file.write_text(text, encoding="utf-8")
            done = subprocess.run([sys.executable, LAYERS, "--root", root], text=True,
                                  capture_output=True, check=False)
            return done.returncode, done.stdout

    def test_allowed(self):
        for path, text in [
            ("src/base/json.h", "#include <yyjson.h>\n#include \"base/str.h\"\n"),
            ("src/server/http.c", "#include <llhttp.h>\n# include <uv.h>\n#include \"api/errors.h\"\n"),
            ("src/app/main.c", "#include \"engine/model.h\"\n#include <sys/stat.h>\n"),
            ("include/pensieve/engine.h", "#include \"base/err.h\"\n"),
        ]:
            self.assertEqual(self.run_on(path, text), (0, "layers: as the table says\n"))

    def test_forbidden(self):
        for path, include, told in [
            ("src/base/x.c", '"engine/model.h"', "base may not include engine/model.h (engine)"),
            ("src/api/x.h", "<uv.h>", "api may not include uv.h (uv)"),
            ("src/server/x.c", '"pensieve/engine.h"',
             "server may not include pensieve/engine.h (pensieve)"),
            ("src/engine/x.c", '"api/request.h"', "engine may not include api/request.h (api)"),
            ("src/chat/x.c", '"engine/vocab.h"', "chat may not include engine/vocab.h (engine)"),
            ("src/base/x.c", "<sqlite3.h>", "sqlite3.h is known neither"),
            ("src/attic/x.c", "<stdio.h>", "attic is not a room"),
            ("include/pensieve/x.h", '"kernels/kernels.h"', "pensieve may not include"),
        ]:
            code, out = self.run_on(path, f"#include <stdio.h>\n\n  #  include {include}\n")
            self.assertEqual(code, 1)
            self.assertIn(told, out)
            self.assertIn("layers: 1 forbidden", out)

    def test_line(self):
        self.assertIn("src/kernels/x.c:3:",
                      self.run_on("src/kernels/x.c", "\n\n#include \"api/errors.h\"\n")[1])


if __name__ == "__main__":
    unittest.main()
