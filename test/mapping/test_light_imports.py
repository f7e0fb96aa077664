"""What command lines import before they know what to do must not cost seconds."""

import subprocess
import sys


def test_inputs_and_regions_do_not_import_torch():
    code = "import sys, rdflux_ros.mapping.inputs, rdflux_ros.mapping.regions; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
