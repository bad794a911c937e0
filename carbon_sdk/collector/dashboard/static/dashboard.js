// What the pages gain with a script. Without it every figure, link and table is still there.

import { drawCharts } from "./charts.js";
import { showKnown } from "./known.js";
import { bringSheetsToLife } from "./sheets.js";
import { rememberZone, switchTheme } from "./viewer.js";

rememberZone();
switchTheme();
showKnown();
bringSheetsToLife();
drawCharts();
