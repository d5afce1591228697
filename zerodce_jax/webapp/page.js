// Gradio names its button for files in two ways, and shows a button within another one once there
// are files. Programs that read the page aloud need one name and one button.
() => {
  const mend = () => {
    document.querySelector("#files .upload-container:not(.icon-mode)")?.removeAttribute("aria-label");
    const inner = document.querySelector("#files .icon-button .upload-container");
    if (!inner || inner.inert) return;
    inner.inert = true;
    const outer = inner.closest(".icon-button");
    outer.title = outer.ariaLabel = "Add files";
    outer.addEventListener("click", (event) => {
      if (!inner.contains(event.target)) inner.click();
    });
  };
  mend();
  new MutationObserver(mend).observe(document.body, { childList: true, subtree: true });
}
