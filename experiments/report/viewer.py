"""The part of the page that shows single stays; viewer.js fills it."""

from experiments.report.tables import words


def html(cases: dict, data) -> str:
  """Controls, empty places and the stays themselves as JSON.

  Args:
    cases: of `cases.build`.
    data: (name, value) -> an element that holds JSON.
  """
  labels = "".join(
    f'<option value="{c}">{words(name)}</option>'
    for c, name in enumerate(cases["labels"])
  )
  first = min(cases["thresholds"].values(), default=0.75)
  planted = (
    " What the twin planted is outlined: evidence with a solid line, noise with"
    " a dotted one."
    if cases["planted"]
    else ""
  )
  return f"""<p>{words(cases["sampling"])}. A token is shaded by the side it
takes: <span class="key yes">for the label</span> or <span class="key no">against
it</span>, the stronger the more confident; tokens of the high group are
underlined or framed. A note's token is a mean over its windows of what stands at
one position.{planted} Arrow keys step through the stays.</p>
<div class="controls" id="viewer-controls">
<button class="plain" type="button" id="case-before">&larr; Previous</button>
<span id="case-name" role="status"></span>
<button class="plain" type="button" id="case-next">Next &rarr;</button>
<label>Label <select id="case-label">{labels}</select></label>
<label>Threshold <input type="range" id="case-threshold" min="0.5" max="1"
 step="0.01" value="{first}"></label>
<output id="case-threshold-value" for="case-threshold"></output>
<button class="plain" type="button" id="case-reset">As trained</button>
</div>
<div id="case">
<p id="case-truth"></p>
<div class="figures">
<figure><figcaption>How it was decided</figcaption><div id="case-decision"></div>
</figure>
<div id="case-modalities" class="modalities"></div>
</div></div>
<noscript>The stays are drawn by a script, which is off here.</noscript>
{data("cases-data", cases)}"""
