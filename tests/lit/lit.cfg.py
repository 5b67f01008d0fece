# How lit runs the tests in these folders: `RUN:` lines in lit's own shell, with moai's tools and LLVM's on the path.
import os

import lit.formats

config.name = "moai"
config.test_format = lit.formats.ShTest(execute_external=False)
config.suffixes = [".mlir", ".test"]
config.excludes = ["Inputs"]
config.test_source_root = os.path.dirname(__file__)
config.test_exec_root = config.moai_lit_dir

config.environment["PATH"] = os.pathsep.join([config.moai_tools_dir, config.llvm_tools_dir, config.environment["PATH"]])
# The importer's test models, and the models that come with moai.
config.substitutions.append(("%inputs", os.path.join(config.moai_source_dir, "tests", "Inputs")))
config.substitutions.append(("%models", os.path.join(config.moai_source_dir, "models")))
