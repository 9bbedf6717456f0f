document.querySelectorAll(".sheet").forEach(section => {
  const range = section.querySelector("input"), slider = section.querySelector(".slider");
  const move = () => slider.style.setProperty("--cut", range.value + "%");
  range.addEventListener("input", move);
  slider.addEventListener("pointermove", event => {
    if (event.pointerType === "touch" && !event.buttons) return;
    const box = slider.getBoundingClientRect();
    range.value = 100 * (event.clientX - box.left) / box.width;
    move();
  });
});
