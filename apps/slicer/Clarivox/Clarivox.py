# SPDX-License-Identifier: Apache-2.0
"""3D Slicer: enhance a volume on a clarivox server and see the result beside it. Thin: the work is in ClarivoxLib."""

import contextlib
import os
import sys
from pathlib import Path

import qt
import slicer
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)

sys.path.append(str(Path(__file__).resolve().parent / "ClarivoxLib"))

from ClarivoxLib import logic
from ClarivoxLib.runs import Run

from clarivox import errors
from clarivox.client import Client

EVERY_MS = 200
"""How often the window looks at the runs."""
ADDRESS, KEY = "Clarivox/address", "Clarivox/key"


class Clarivox(ScriptedLoadableModule):
    """What Slicer's list of modules shows."""

    def __init__(self, parent):
        super().__init__(parent)
        parent.title = "Clarivox"
        parent.categories = ["Filtering"]
        parent.dependencies = []
        parent.contributors = ["The clarivox authors"]
        parent.helpText = (
            "Enhances volumes on a clarivox server: start one with <code>clarivox serve</code>, press Connect, choose "
            "a volume and a bundle. The grid and the unit are kept, and what changed can be shown as a volume. "
            "Research software, not a medical device."
        )
        parent.acknowledgementText = "Built on MONAI."


class ClarivoxWidget(ScriptedLoadableModuleWidget):
    """The panel."""

    def setup(self):
        """Build the panel and restore the last address."""
        super().setup()
        panel = slicer.util.loadUI(self.resourcePath("UI/Clarivox.ui"))
        self.layout.addWidget(panel)
        self.ui = slicer.util.childWidgetVariables(panel)
        self.ui.inputSelector.setMRMLScene(slicer.mrmlScene)
        self.client, self.bundles, self.runs, self.forms = None, [], [], {}
        settings = qt.QSettings()
        self.ui.addressEdit.text = settings.value(ADDRESS, "http://127.0.0.1:8000")
        self.ui.keyEdit.text = settings.value(KEY, "")
        self.timer = qt.QTimer()
        self.timer.setInterval(EVERY_MS)
        self.timer.connect("timeout()", self.look)
        self.ui.connectButton.connect("clicked()", self.connectToServer)
        self.ui.inputSelector.connect("currentNodeChanged(vtkMRMLNode*)", lambda _node: self.listBundles())
        self.ui.bundleBox.connect("currentIndexChanged(int)", lambda _index: self.showOptions())
        self.ui.runButton.connect("clicked()", lambda: self.run([self.ui.inputSelector.currentNode()]))
        self.ui.allButton.connect("clicked()", lambda: self.run(logic.volumes(slicer.mrmlScene)))
        self.ui.cancelButton.connect("clicked()", lambda: [run.cancel() for run, _node in self.runs])
        self.say("Press Connect.")

    def cleanup(self):
        """Stop what runs when the module goes."""
        self.timer.stop()
        for run, _node in self.runs:
            run.cancel()

    def say(self, words):
        """A line below the buttons."""
        self.ui.statusLabel.text = words

    def connectToServer(self):
        """Ask the server for its bundles and keep its address."""
        self.client = Client(self.ui.addressEdit.text.strip(), self.ui.keyEdit.text.strip() or None, patience_s=5)
        with slicer.util.tryWithErrorDisplay("The server does not answer", waitCursor=True):
            self.bundles = self.client.bundles()
            settings = qt.QSettings()
            settings.setValue(ADDRESS, self.ui.addressEdit.text.strip())
            settings.setValue(KEY, self.ui.keyEdit.text.strip())
            self.listBundles()
            self.say(f"{len(self.bundles)} bundles.")

    def listBundles(self):
        """Show the bundles that fit the chosen volume."""
        box, chosen = self.ui.bundleBox, self.ui.bundleBox.currentText
        box.clear()
        box.addItems([one["name"] for one in logic.fitting(self.bundles, self.ui.inputSelector.currentNode())])
        box.currentText = chosen
        self.showOptions()

    def bundle(self):
        """The chosen bundle, or None."""
        return next((one for one in self.bundles if one["name"] == self.ui.bundleBox.currentText), None)

    def showOptions(self):
        """A row for each option of the bundle."""
        form = self.ui.optionsFrame.layout()
        while form.rowCount():
            form.removeRow(0)
        self.forms = {}
        bundle = self.bundle()
        self.ui.runButton.enabled = self.ui.allButton.enabled = bundle is not None
        for name, kind, choices, default, words in logic.options_of(bundle or {}):
            self.forms[name] = field(kind, choices, default)
            self.forms[name][0].toolTip = words
            form.addRow(name, self.forms[name][0])

    def run(self, nodes):
        """Send volumes, each as a run of its own, one after another."""
        options = {name: value() for name, (_widget, value) in self.forms.items() if value() is not None}
        for node in filter(None, nodes):
            with slicer.util.tryWithErrorDisplay("The volume cannot be sent"):
                self.runs.append((self.prepared(node, options), node))
        self.ui.cancelButton.enabled = bool(self.runs)
        self.timer.start()

    def prepared(self, node, options):
        """A run of one volume, with its DICOM files for the headers of the result where DICOM is wanted."""
        params = {"strength": self.ui.strengthSlider.value}
        if self.ui.dicomCheck.checked:
            files = logic.dicom_files(node, slicer.dicomDatabase.fileForInstance)
            if not files:
                raise ValueError("this volume was not loaded from DICOM here, so no DICOM series can be made of it")
            return Run(self.client, files, self.bundle()["name"], options, **params)
        return Run(
            self.client, logic.saved(node, slicer.util.tempDirectory()), self.bundle()["name"], options, **params
        )

    def look(self):
        """Show how the runs stand, start the next, take in what is done."""
        active = next(((run, node) for run, node in self.runs if not run.over), None)
        if active and active[0].state == "waiting":
            active[0].start()
        for run, node in [pair for pair in self.runs if pair[0].over]:
            self.runs.remove((run, node))
            with slicer.util.tryWithErrorDisplay("The result cannot be shown"):
                self.take(run, node)
            run.close()
        if active:
            left = f", {active[0].eta_s:.0f} s left" if active[0].eta_s is not None else ""
            self.ui.progressBar.value = round(100 * active[0].done)
            self.say(f"{active[0].state}{left}; {len(self.runs)} to do")
        if not self.runs:
            self.timer.stop()
            self.ui.cancelButton.enabled = False

    def take(self, run, node):
        """Show a result beside its source, or say why there is none."""
        if run.state != "done":
            self.say("Cancelled." if run.state == "cancelled" else f"{run.words} [{run.code}]")
            return
        if run.result.endswith(".zip"):
            from DICOMLib import DICOMUtils

            folder = slicer.util.tempDirectory()
            slicer.util.extractArchive(run.result, folder)
            DICOMUtils.importDicom(folder, slicer.dicomDatabase)
            self.say("The derived series is in the DICOM database. " + run.words)
            return
        result = logic.loaded(run.result, node, f"{node.GetName()} {run.bundle}")
        change = logic.difference(node, result) if self.ui.differenceCheck.checked else None
        beside(node, result, change)
        self.say(run.words or "Done.")


def field(kind, choices, default):
    """A widget for one option, and a function that gives its value, or None for the bundle's own default."""
    if kind == "choice":
        box = qt.QComboBox()
        box.addItems([str(choice) for choice in choices])
        if default in choices:
            box.currentIndex = choices.index(default)
        return box, lambda: choices[box.currentIndex]
    if kind == "switch":
        check = qt.QCheckBox()
        check.checked = bool(default)
        return check, lambda: check.checked
    edit = qt.QLineEdit("" if default is None else str(default))
    return edit, lambda: number(edit.text)


def number(text):
    """A number where the text is one, None where it is empty, else the text."""
    with contextlib.suppress(ValueError):
        return int(text) if text.lstrip("-").isdigit() else float(text)
    return text.strip() or None


def beside(before, after, change):
    """Show two volumes side by side, linked, and the change where there is one."""
    manager = slicer.app.layoutManager()
    three = change is not None
    manager.setLayout(
        slicer.vtkMRMLLayoutNode.SlicerLayoutThreeOverThreeView
        if three
        else slicer.vtkMRMLLayoutNode.SlicerLayoutSideBySideView
    )
    for name, node in zip(manager.sliceViewNames(), (before, after, change)):
        if node is None:
            continue
        composite = manager.sliceWidget(name).mrmlSliceCompositeNode()
        composite.SetBackgroundVolumeID(node.GetID())
        composite.SetForegroundVolumeID(None)
        composite.SetLinkedControl(True)
        manager.sliceWidget(name).sliceController().fitSliceToBackground()


class ClarivoxLogic(ScriptedLoadableModuleLogic):
    """For scripts: `ClarivoxLogic().enhance(node, "mr_unet_denoise", "http://127.0.0.1:8000")`."""

    def enhance(self, node, bundle, address, key=None, strength=1.0, **options):
        """Enhance one volume and give the new node; waits until it is there.

        Raises:
            clarivox.errors.ServiceError: the server refused, or it was cancelled.
        """
        run = Run(
            Client(address, key), logic.saved(node, slicer.util.tempDirectory()), bundle, options, strength=strength
        )
        try:
            run.start().wait()
            if run.state != "done":
                raise errors.ServiceError(run.words or run.state, code=run.code or None)
            return logic.loaded(run.result, node, f"{node.GetName()} {bundle}")
        finally:
            run.close()


class ClarivoxTest(ScriptedLoadableModuleTest):
    """Runs where a server is named in the environment as CLARIVOX_URL."""

    def runTest(self):
        """Enhance a small volume with the identity bundle."""
        import numpy as np

        address = os.environ.get("CLARIVOX_URL")
        if not address:
            self.delayDisplay("CLARIVOX_URL names no server; nothing was run")
            return
        node = slicer.util.addVolumeFromArray(np.arange(24, dtype=np.int16).reshape(2, 3, 4))
        result = ClarivoxLogic().enhance(node, "identity", address)
        self.assertTrue(np.array_equal(slicer.util.arrayFromVolume(node), slicer.util.arrayFromVolume(result)))
