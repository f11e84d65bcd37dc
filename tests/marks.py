# Copyright 2026 The GDD-1S authors.
# SPDX-License-Identifier: Apache-2.0
"""Which tests `sh test.sh --fast` leaves out, and which files begin.

Names are files below tests/, or single tests as FILE::TEST. What is left is meant to take
110 CPU seconds at most; tests/test_layout.py holds that every name still belongs to a test.
"""

MARKED = {
    'processes': (
        'benchmarks/test_throughput.py::test_failure_in_a_process_of_its_own_becomes_a_row',
        'dnnlib/test_parallel.py',
        'evaluations/test_evaluator.py::test_runs_by_its_path',
        'evaluations/test_live_metrics.py::test_two_processes_skip_alike_and_share_the_measuring',
        'cuda/test_processes.py',
        'reports/test_page.py::test_in_a_browser',
        'runs/test_damaged_image.py',
        'runs/test_kill_and_resume.py',
        'runs/test_two_nodes.py',
        'runs/test_two_processes.py',
        'scripts/test_dataset_tool.py::test_bytes_and_order_do_not_depend_on_the_number_of_workers',
        'scripts/test_dataset_tool.py::test_stopped_midway_nothing_appears_under_the_name',
        'scripts/test_fid_processes.py',
        'scripts/test_generate_processes.py',
        'scripts/test_recipes.py',
        'scripts/test_train.py::test_messages_reach_a_real_terminal',
        'scripts/test_validation_scripts.py',
        'test_golden.py::test_script_runs_from_anywhere',
        'torch_utils/test_allocator.py',
        'torch_utils/test_distributed.py',
        'torch_utils/test_launch.py',
        'training/snapshots/test_pickle_fuzz.py',
        'training/snapshots/test_upstream_loader.py',
        'training/test_dataset.py::test_worker_processes_read_the_same_items',
    ),
    'slow': (
        'benchmarks/test_gpu_campaign.py::test_the_whole_campaign_in_its_tiny_form',
        'benchmarks/test_throughput.py',
        'cuda/test_loop.py',
        'cuda/test_networks.py',
        'evaluations/detectors/test_inception.py::test_agrees_with_torch_fidelity',
        'evaluations/detectors/test_inception.py::test_every_size_and_the_batch_composition',
        'evaluations/detectors/test_inception_weights.py',
        'evaluations/detectors/test_registry.py::test_unpublished_weights_are_named_after_their_hash',
        'evaluations/detectors/test_train_mnist_classifier.py::test_script_trains_and_reports',
        'evaluations/test_cross_checks.py',
        'evaluations/test_evaluator.py::test_loads_weights_for_pytorch',
        'evaluations/test_live_metrics.py::test_training_is_the_same_bit_for_bit_with_and_without_metrics',
        'runs/test_pretended_gpu.py',
        'runs/test_pretended_whole.py',
        'scripts/test_demo_assets.py',
        'scripts/test_export.py',
        'scripts/test_export_diffusers.py',
        'scripts/test_export_onnx.py',
        'scripts/test_option_effects.py::test_option_changes_the_outcome',
        'scripts/test_readme.py',
        'scripts/test_train.py',
        'test_examples.py',
        'test_golden.py::test_golden_file',
        'test_golden.py::test_wrong_versions_fail_despite_any_allowance',
        'training/adversarial/test_batch_split.py',
        'training/adversarial/test_input_augment.py',
        'training/adversarial/test_losses.py',
        'training/adversarial/test_stages.py::test_golden_rejects_wrong_versions',
        'training/adversarial/test_stages.py::test_rounding_alone_moves_golden_gradients',
        'training/instance/test_distances.py::test_lpips_against_a_slow_program',
        'training/run/test_resume.py',
        'training/snapshots/for_diffusers/test_gdd_pipeline.py',
        'training/snapshots/for_diffusers/test_gdd_unet.py',
        'training/snapshots/test_safetensors_file.py',
        'training/snapshots/test_teacher_files.py',
        'training/tasks/test_instance.py::test_run_resumes_exactly_and_records_its_steps',
        'training/tasks/test_teacher_reference.py',
        'training/test_training_loop.py',
    ),
}

# Files that take longest, so that no process of pytest-xdist begins one while the others have nothing left.
FIRST = (
    'runs/test_kill_and_resume.py',
    'test_golden.py',
    'runs/test_two_processes.py',
    'runs/test_pretended_gpu.py',
    'runs/test_pretended_whole.py',
    'scripts/test_export_onnx.py',
    'training/test_training_loop.py',
    'evaluations/test_live_metrics.py',
    'scripts/test_export.py',
    'training/snapshots/test_pickle_fuzz.py',
    'training/tasks/test_teacher_reference.py',
    'evaluations/test_cross_checks.py',
    'scripts/test_fid_processes.py',
)


def marks_of(file: str, test: str) -> list[str]:
    """Return the marks of a test, given its file below tests/ and its name without parameters."""
    return [mark for mark, names in MARKED.items() if file in names or f'{file}::{test}' in names]


def whole_file(file: str) -> bool:
    """Tell whether all tests of a file are marked."""
    return any(file in names for names in MARKED.values())
