// The page: it takes photographs, shows previews, and saves results. A worker computes, so that
// the page never waits.
const element = (id) => document.getElementById(id);
let worker; // Computes; see worker.js.
let photograph = null; // The file that is shown.
let answers = Promise.resolve(); // The worker answers one request after the other.

/** Ask the worker for something, and return its answer. */
function ask(request, transferred = []) {
  const answer = answers.then(
    () =>
      new Promise((resolve, reject) => {
        worker.onmessage = ({ data }) => {
          if (data.progress !== undefined) return showProgress(data.progress);
          if (data.problem !== undefined) return reject(new Error(data.problem));
          resolve(data);
        };
        worker.onerror = () => reject(new Error("the worker stopped; reload the page"));
        worker.postMessage(request, transferred);
      }),
  );
  answers = answer.catch(() => {});
  return answer;
}

function showProgress(share) {
  element("progress").hidden = share >= 1;
  element("progress").value = share;
}

/** Say what the page is doing, or what went wrong. */
function say(state, problem = "") {
  element("state").textContent = state;
  element("problem").textContent = problem;
}

/** Run an action with the buttons disabled, and report its error in one line. */
async function attempt(name, action) {
  const buttons = document.querySelectorAll("button");
  for (const button of buttons) button.disabled = true;
  try {
    await action();
  } catch (error) {
    say("", `${name}: ${error.message}`);
  } finally {
    showProgress(1);
    for (const button of buttons) button.disabled = false;
  }
}

/** Show a bitmap in a canvas. */
function draw(id, bitmap) {
  const canvas = element(id);
  canvas.width = bitmap.width;
  canvas.height = bitmap.height;
  canvas.getContext("bitmaprenderer").transferFromImageBitmap(bitmap);
}

async function open(file) {
  await attempt(file.name, async () => {
    say("Looking at the photograph …");
    let bitmap;
    try {
      bitmap = await createImageBitmap(file);
    } catch {
      throw new Error("this is not an image that the browser can read");
    }
    const { before } = await ask({ task: "open", bitmap, file }, [bitmap]);
    photograph = file;
    draw("before", before);
    await preview();
    element("result").hidden = false;
    element("result").scrollIntoView({ behavior: "smooth", block: "nearest" });
  });
}

const strength = () => Number(element("strength").value);

async function preview() {
  const { after, seconds } = await ask({ task: "preview", strength: strength() });
  draw("after", after);
  say(`${photograph.name}: enhanced in ${seconds.toFixed(1)} s`);
}

async function download() {
  await attempt(photograph.name, async () => {
    say("Enhancing at full size …");
    const { blob, seconds } = await ask({ task: "save", strength: strength() });
    const link = document.createElement("a");
    link.href = URL.createObjectURL(blob);
    const suffix = { "image/jpeg": "jpg", "image/png": "png", "image/webp": "webp" }[blob.type];
    link.download = `${photograph.name.replace(/\.[^.]*$/, "")}_bright.${suffix}`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
    say(`${link.download}: saved after ${seconds.toFixed(1)} s`);
  });
}

element("file").addEventListener("change", ({ target }) => {
  if (target.files[0]) open(target.files[0]);
  target.value = "";
});
const drop = element("drop");
for (const name of ["dragover", "dragleave", "drop"])
  addEventListener(name, (event) => {
    event.preventDefault();
    drop.classList.toggle("over", name === "dragover");
    if (name === "drop" && event.dataTransfer.files[0]) open(event.dataTransfer.files[0]);
  });
element("sample").addEventListener("click", async () => {
  const blob = await (await fetch("sample.jpg")).blob();
  await open(new File([blob], "sample.jpg", { type: blob.type }));
});
element("divider").addEventListener("input", ({ target }) => {
  element("comparison").style.setProperty("--share", `${target.value}%`);
});
element("strength").addEventListener("input", () => {
  element("shown").value = strength().toFixed(1);
});
element("strength").addEventListener("change", () => attempt(photograph.name, preview));
element("download").addEventListener("click", download);

/** Let the service worker keep the files from now on, for use without a network. */
async function keepFiles() {
  const workers = navigator.serviceWorker;
  if (!workers) return;
  const taken = new Promise((resolve) => workers.addEventListener("controllerchange", resolve));
  await workers.register("offline.js");
  // After a forced reload, it does not take over.
  const late = new Promise((resolve) => setTimeout(resolve, 3000));
  if (!workers.controller) await Promise.race([taken, late]);
}

await attempt("network", async () => {
  // Without it, as in private windows of some browsers, the page needs the network.
  await keepFiles().catch(() => {});
  worker = new Worker("worker.js", { type: "module" });
  const { backend } = await ask({ task: "load" });
  say(`Ready (${backend})`);
});
