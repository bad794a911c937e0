// What the pages gain with a script. Without it every figure, link and table is still there.

import { drawCharts } from "./charts.js";
import { showKnown } from "./known.js";
import { fillFragments } from "./loading.js";
import { bringSheetsToLife, makeWalkable } from "./sheets.js";
import { foldIn, rememberZone, switchTheme } from "./viewer.js";

rememberZone();
switchTheme();
foldIn();
showKnown();
bringSheetsToLife();
fillFragments(makeWalkable);
drawCharts();
