"""Packaging for pip and colcon alike: both give what `ros2 run` and `ros2 launch` find."""

from pathlib import Path

from setuptools import find_packages, setup

NAME = "rdflux_ros"
EXECUTABLES = {
    "mapper": "rdflux_ros.node.mapper_node:main",
    "replay": "rdflux_ros.evaluation.replay:main",
    "precompute": "rdflux_ros.mapping.precompute:main",
    "view": "rdflux_ros.node.view:main",
    "evaluate": "rdflux_ros.evaluation.evaluate:main",
    "benchmark": "rdflux_ros.node.benchmark:main",
    "train": "rdflux_ros.training.train:main",
}
SHARED_FOLDERS = ("config", "launch", "models", "rviz")
EVALUATION = ["matplotlib", "pillow", "rosbags>=0.10", "scikit-image", "tqdm"]
TRAINING = ["lightning-fabric", "matplotlib", "tqdm"]
VIEW = ["aiohttp>=3.9"]
PAPERS = ["diffusers", "transformers"]
KILTED = [
    f"ros-kilted-{name}"
    for name in (
        "ament-index-python",
        "diagnostic-msgs",
        "geometry-msgs",
        "lifecycle-msgs",
        "nav-msgs",
        "rclpy",
        "rmw-fastrtps-cpp",
        "sensor-msgs",
        "std-srvs",
    )
]
TEST = [
    "catkin_pkg",
    "colcon-common-extensions",
    "colcon-ros",
    "hypothesis",
    "import-linter==2.*",
    "mypy==2.4.*",
    "pytest<9",
    "pytest-timeout",
    "pytest-xdist",
    "ruff==0.17.*",
    "types-PyYAML",
]


def files(folder: str) -> list[str]:
    """The visible files of a folder, relative as colcon wants them."""
    return sorted(str(path) for path in Path(folder).glob("*") if path.is_file() and not path.name.startswith("."))


setup(
    name=NAME,
    version="0.1.0",
    description="Radio maps for a moving base station: pose and occupancy grid in, pathloss grids out (ROS 2).",
    long_description=Path("README.md").read_text(encoding="utf-8") if Path("README.md").exists() else "",
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    maintainer="The rdflux_ros developers",
    maintainer_email="maintainers@rdflux-ros.example",
    python_requires=">=3.10",
    packages=find_packages(include=[NAME, f"{NAME}.*"]),
    package_data={f"{NAME}.node": ["view.html"]},
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{NAME}"]),
        (f"share/{NAME}", ["package.xml"]),
        *((f"share/{NAME}/{folder}", files(folder)) for folder in SHARED_FOLDERS),
        (f"lib/{NAME}", [f"resource/executables/{name}" for name in EXECUTABLES]),
    ],
    entry_points={"console_scripts": [f"rdflux-{name} = {main}" for name, main in EXECUTABLES.items()]},
    install_requires=["numpy", "opencv-python-headless", "pyyaml", "safetensors", "torch>=2.5"],
    extras_require={
        "correction": ["scikit-learn"],
        "evaluation": EVALUATION,
        "kilted": KILTED,
        "papers": PAPERS,
        "test": TEST,
        "training": TRAINING,
        "view": VIEW,
    },
    zip_safe=False,
)
