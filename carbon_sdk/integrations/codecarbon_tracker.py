"""CodeCarbon's two trackers: what their methods measure, and the row that they write."""

import logging
import os
import time
import uuid
from datetime import UTC, datetime
from types import FrameType, TracebackType
from typing import Any

from carbon_sdk import __version__
from carbon_sdk.cost import Cost
from carbon_sdk.emission import JOULES_PER_KWH
from carbon_sdk.integrations import codecarbon_arguments
from carbon_sdk.integrations.codecarbon_arguments import Arguments
from carbon_sdk.integrations.codecarbon_data import (
    EmissionsData,
    TaskEmissionsData,
    write_run,
    write_tasks,
)
from carbon_sdk.integrations.codecarbon_facts import Facts, Load, facts, place_of, where
from carbon_sdk.integrations.codecarbon_station import Station, station
from carbon_sdk.intensity.constant import Constant
from carbon_sdk.intensity.intensity import Intensity, Place
from carbon_sdk.stretch import Stretch

GRAMS_PER_KILOGRAM = 1000.0
VERSION = f"carbon-sdk {__version__}"


class EmissionsTracker:
    """Measures from `start` to `stop`, or as a context manager.

    The place is that of the settings (`CARBON_SDK_ZONE`); no address is looked up anywhere.

    Args:
        positional: CodeCarbon's arguments, in its order.
        named: CodeCarbon's arguments; docs/codecarbon.md says what each does here.

    Raises:
        SettingsError: An argument cannot be used; the message names it and the remedy.
    """

    def __init__(self, *positional: Any, **named: Any) -> None:
        self._told: Arguments = codecarbon_arguments.resolve(codecarbon_arguments.by_name(positional, named))
        self._place = self._offline_place()
        self._station: Station = station(self._told, self._place)
        self._fixed = self._fixed_price()
        self.run_id = uuid.uuid4()
        self.final_emissions: float | None = None
        self.final_emissions_data: EmissionsData | None = None
        self._run: Stretch | None = None
        self._begun: float | None = None
        self._process = os.getpid()
        self._load: Load | None = None
        self._ending = False
        self._tasks: dict[str, tuple[Stretch, float]] = {}
        self._task_data: dict[str, EmissionsData] = {}
        self._task_costs = Cost()
        self._active_task: str | None = None
        self._written: EmissionsData | None = None

    def start(self) -> None:
        """Measure from here; a second call does nothing."""
        if self._station.disabled:
            return
        if self._run is not None:
            self._station.tell("the tracker has been started already")
            return
        self._station.wait_ready()
        self._begin()
        told = self._told
        self._run = self._station.stretches.begin(told.project_name, told.tracking_mode, price=self._price)

    def stop(self) -> float | None:
        """Measure up to here, and write.

        Returns:
            Emissions since the start, kg CO2e; None where nothing could be read, or nothing was started.
        """
        if self._begun is None or self._process != os.getpid():
            self._station.tell("the tracker has been stopped already, or was never started in this process")
            return self.final_emissions
        if self._active_task is not None:
            self.stop_task()
        self._ending = True
        cost = Cost()
        if self._run is not None:
            cost.add(self._station.stretches.end(self._run, self._station.peek))
        data = self._data(self._with_tasks(cost), self._seconds(self._begun))
        self._write(data)
        for handler in self._told.output_handlers:
            self._call(handler, "exit")
        self.final_emissions_data, self.final_emissions = data, data.emissions
        self._run = self._begun = None
        return data.emissions

    def flush(self) -> float | None:
        """Write what was measured so far, and go on.

        Returns:
            Emissions since the start, kg CO2e.
        """
        if self._begun is None or self._process != os.getpid():
            self._station.tell("the tracker must be started in this process before it can be flushed")
            return None
        cost = Cost()
        if self._run is not None:
            cost.add(self._station.stretches.so_far(self._run, self._station.peek))
        data = self._data(self._with_tasks(cost), self._seconds(self._begun))
        self._write(data)
        return data.emissions

    def start_task(self, task_name: str | None = None) -> None:
        """Measure a task from here; the tracker need not have been started."""
        if self._station.disabled:
            return
        if self._active_task is not None:
            self._station.tell("a task is being measured already")
            return
        self._station.wait_ready()
        if self._begun is None:
            self._begin()
        name = task_name or str(uuid.uuid4())
        name = f"{name}_{uuid.uuid4()}" if name in self._tasks else name
        told = self._told
        stretch = self._station.stretches.begin(name, told.tracking_mode, price=self._price, outer=self._run)
        self._tasks[name] = stretch, time.perf_counter()
        self._active_task = name

    def stop_task(self, task_name: str | None = None) -> EmissionsData | None:
        """The task ends here.

        Returns:
            What the task cost, itself alone; None where there is no such task.
        """
        name = task_name or self._active_task
        if name is None or name not in self._tasks or name in self._task_data:
            self._station.tell("there is no task to stop")
            return None
        stretch, begun = self._tasks[name]
        cost = self._station.stretches.end(stretch, self._station.peek)
        self._task_costs.add(cost)
        data = self._task_data[name] = self._data(cost, self._seconds(begun))
        self._active_task = None if name == self._active_task else self._active_task
        return data

    def get_detected_hardware(self) -> dict[str, Any]:
        """What the machine is made of."""
        machine = self._facts
        return {
            "ram_total_size": machine.ram_total_size,
            "cpu_count": machine.cpu_count,
            "cpu_physical_count": machine.cpu_physical_count,
            "cpu_model": machine.cpu_model,
            "gpu_count": machine.gpu_count,
            "gpu_model": machine.gpu_model,
            "gpu_ids": None,
        }

    def service_shutdown(self, signum: int, frame: FrameType | None) -> None:
        """A signal handler that stops."""
        self.stop()

    def __enter__(self) -> "EmissionsTracker":
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def _facts(self) -> Facts:
        settings = self._station.settings
        return facts(settings.procfs_root, settings.sysfs_root)

    def _offline_place(self) -> Place | None:
        """Where this tracker alone says that it is."""
        return None

    def _fixed_price(self) -> Intensity | None:
        """A price that stays; None where the settings' provider is asked."""
        forced = self._told.force_carbon_intensity_g_co2e_kwh
        if forced is not None:
            return Constant(forced, method="an argument of the tracker").known(self._place or self._station.place())
        return None if self._place is None else self._station.average(self._place)

    def _price(self) -> Intensity | None:
        """What a kWh weighs now; at the end what is known must do."""
        known = self._fixed or self._station.price()
        if known is None and self._ending:
            return self._station.average(self._station.place())
        return known

    def _begin(self) -> None:
        self._process = os.getpid()
        self._begun = time.perf_counter()
        self._load = Load(self._station.settings.procfs_root)
        self._ending = False

    def _seconds(self, begun: float) -> float:
        return time.perf_counter() - begun

    def _with_tasks(self, cost: Cost) -> Cost:
        """The run with its tasks: as parts of the process they are beside it, of the machine they lie within it."""
        if self._told.tracking_mode == "process" or self._run is None:
            cost.add(self._task_costs)
        return cost

    def _data(self, cost: Cost, seconds: float) -> EmissionsData:
        """A row of what something cost."""
        told, machine = self._told, self._facts
        if cost.gap_seconds:
            self._station.gap(cost.gap_seconds, seconds)
        factor = self._station.settings.pue or 1.0 if told.pue == 1.0 else told.pue
        kwh = {name: _kwh(cost, domains, factor) for name, domains in _PARTS.items()}
        if not machine.gpu_count and kwh["gpu"] is None:
            kwh["gpu"] = 0.0
        consumed = None if cost.energy_joules is None else cost.energy_joules / JOULES_PER_KWH * factor
        emissions = None if consumed is None else cost.grams * factor / GRAMS_PER_KILOGRAM
        watts = {
            name: None if part is None or not seconds else part * JOULES_PER_KWH / seconds for name, part in kwh.items()
        }
        ram_percent, ram_used = (None, None) if self._load is None else self._load.memory()
        place = where(self._place or self._station.place(), told.region)
        return EmissionsData(
            timestamp=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            project_name=told.project_name,
            run_id=str(self.run_id),
            experiment_id=told.experiment_id,
            duration=seconds,
            emissions=emissions,
            emissions_rate=None if emissions is None or not seconds else emissions / seconds,
            cpu_power=watts["cpu"],
            gpu_power=watts["gpu"],
            ram_power=watts["ram"],
            cpu_energy=kwh["cpu"],
            gpu_energy=kwh["gpu"],
            ram_energy=kwh["ram"],
            energy_consumed=consumed,
            water_consumed=None if consumed is None else told.wue * consumed,
            country_name=place.country_name,
            country_iso_code=place.country_iso_code,
            region=place.region,
            cloud_provider=place.cloud_provider,
            cloud_region=place.cloud_region,
            os=machine.os,
            python_version=machine.python_version,
            codecarbon_version=VERSION,
            cpu_count=machine.cpu_count,
            cpu_model=machine.cpu_model,
            gpu_count=machine.gpu_count,
            gpu_model=machine.gpu_model,
            longitude=place.longitude,
            latitude=place.latitude,
            ram_total_size=machine.ram_total_size,
            tracking_mode=told.tracking_mode,
            cpu_utilization_percent=None if self._load is None else self._load.cpu_percent(seconds),
            gpu_utilization_percent=None if machine.gpu_count else 0.0,
            ram_utilization_percent=ram_percent,
            ram_used_gb=ram_used,
            on_cloud=place.on_cloud,
            pue=factor,
            wue=told.wue,
        )

    def _write(self, data: EmissionsData) -> None:
        """To the file, the logger and the handlers; what fails is told, and the program goes on."""
        told = self._told
        added, self._written = data.less(self._written), data
        tasks = [TaskEmissionsData.of(name, one) for name, one in self._task_data.items()]
        if told.save_to_file:
            try:
                write_run(told.output_dir / told.output_file, data, told.on_csv_write)
                if tasks:
                    name = f"emissions_{told.experiment_name}_{self.run_id}.csv"
                    write_tasks(told.output_dir / name, tasks)
            except (OSError, ValueError) as exc:
                self._station.fault("codecarbon.file", exc)
        outputs = list(told.output_handlers)
        if told.save_to_logger and told.logging_logger is not None:
            outputs.append(told.logging_logger)
        for output in outputs:
            if isinstance(output, logging.Logger):
                output.info(data.toJSON())
                continue
            self._call(output, "out", data, added)
            if tasks:
                self._call(output, "task_out", tasks, told.experiment_name)

    def _call(self, output: Any, method: str, *arguments: Any) -> None:
        call = getattr(output, method, None)
        if call is None:
            return
        try:
            call(*arguments)
        except Exception as exc:  # a handler is the user's own code: its error is told, and the run goes on
            self._station.fault(f"codecarbon.{type(output).__name__}", exc)


class OfflineEmissionsTracker(EmissionsTracker):
    """An `EmissionsTracker` whose place is an argument, priced by the bundled yearly average: nobody is asked.

    Args:
        positional: CodeCarbon's arguments, in its order.
        named: CodeCarbon's arguments, `country_iso_code` (three letters) or `cloud_provider` and `cloud_region`
            among them.

    Raises:
        SettingsError: An argument cannot be used; the message names it and the remedy.
    """

    def _offline_place(self) -> Place | None:
        told = self._told
        return place_of(told.country_iso_code, told.cloud_provider, told.cloud_region)

    def _fixed_price(self) -> Intensity | None:
        return super()._fixed_price() or self._station.average(self._station.place())


_PARTS = {"cpu": ("package", "psys"), "ram": ("dram",), "gpu": ("gpu",)}
"""CodeCarbon's parts of the energy, by our domains."""


def _kwh(cost: Cost, domains: tuple[str, ...], factor: float) -> float | None:
    known = [joules for domain, joules in cost.joules.items() if domain in domains]
    return sum(known) / JOULES_PER_KWH * factor if known else None
