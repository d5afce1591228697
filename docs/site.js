// Keep the site usable with a keyboard and a screen reader: what scrolls can be focused, and each
// landmark has a name of its own. Zensical adds some of these elements after the page has loaded.
const repair = () => {
  document.querySelectorAll(".md-code__nav").forEach((nav, index) => {
    nav.ariaLabel = `Code block ${index + 1}`;
  });
  for (const element of document.querySelectorAll("pre > code, .md-typeset__scrollwrap, .math"))
    if (element.scrollWidth > element.clientWidth) element.tabIndex = 0;
};
repair();
new MutationObserver(repair).observe(document.body, { childList: true, subtree: true });
addEventListener("resize", repair);
